"""Fits how long ops take on devices: published architectures as lists of ops, and what was measured of them."""
