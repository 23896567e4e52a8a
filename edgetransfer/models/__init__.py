"""Keras models: pretrained backbones, task heads, and what training gives. The build side begins here."""
