"""One page about a bundle, whole in itself: what it is, how right, how large and how fast, how to run it, a model card.

`gather` collects the figures, `render` makes the page of them. Equal figures give equal bytes: no clock is read for it,
and no path of this machine is told.
"""

from __future__ import annotations

from edgetransfer.pipeline.page.figures import Figures, LatencyRow
from edgetransfer.pipeline.page.gathering import gather
from edgetransfer.pipeline.page.layout import render
from edgetransfer.pipeline.page.options import PageOptions

__all__ = ["Figures", "LatencyRow", "PageOptions", "gather", "render"]
