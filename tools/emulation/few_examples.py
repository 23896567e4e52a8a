"""A plugin for pytest on boards: Hypothesis tries fewer examples, and no deadline counts at an emulator's speed."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("board", max_examples=15, deadline=None)
settings.load_profile("board")
