"""The parts of `tools/bench transfer`."""
