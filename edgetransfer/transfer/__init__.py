"""Cross-model transfer: what another model has learned, put into the backbone of a small one."""
