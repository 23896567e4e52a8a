"""The two ways in which a check can end without a result."""

from __future__ import annotations


class CheckFailed(Exception):
    """A client does not answer as it must, or its packages cannot be installed though they are in reach."""


class Impossible(Exception):
    """What a check needs cannot be had here: no network, no root, no package for this kind of machine."""
