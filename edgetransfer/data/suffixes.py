"""How names of files end that hold photos or sounds."""

from __future__ import annotations

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"})
SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus"})
SUFFIXES = {"image": PHOTO_SUFFIXES, "audio": SOUND_SUFFIXES}
"""By kind of input."""
