"""The error of a machine on which a target cannot be made."""

from __future__ import annotations


class Impossible(Exception):
    """What a target needs is neither here nor to be had; the message, one line, says what to do."""
