"""All stages in order: what the commands `build`, `train`, `export` and `demo` do."""
