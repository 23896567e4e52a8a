"""What a model costs before it runs on a device: bytes, milliseconds, memory. Estimates, each with its error."""
