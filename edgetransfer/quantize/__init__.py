"""Numbers made smaller: plans, calibrated ranges, recipes carried out. Files in, files out."""
