"""The parts of tools/emulate: what can be emulated, how it is made, what is checked there."""
