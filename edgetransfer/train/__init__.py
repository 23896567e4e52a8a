"""Trains heads on features; the backbone stays frozen."""
