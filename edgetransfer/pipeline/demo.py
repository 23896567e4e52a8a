"""The demo: scikit-learn's handwritten digits, written out as photos, then built like anybody's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgetransfer.errors import DataError
from edgetransfer.pipeline.build import BuildReport, build
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.pipeline.options import BuildOptions, Silent, Watcher
from edgetransfer.spec.backbone import BackboneChoice

PHOTO_PX = 128
DIGIT_PX = 90  # of it; the rest is margin, as on a page


def demo(folder: Path, *, force: bool = False, watcher: Watcher | None = None) -> BuildReport:
    """Build a digit reader in `folder` and return the report.

    Args:
        folder: Gets digits/ (1,797 photos, a folder a class) and digits.bundle.
        force: Replace a bundle that is there.
        watcher: Is told the stages.

    Raises:
        DataError: scikit-learn is not installed.
        EdgetransferError: as `build`.
    """
    watcher = watcher or Silent()
    watcher.stage("writing scikit-learn's handwritten digits as photos")
    photos = folder / "digits"
    write_digits(photos)
    options = BuildOptions(data=photos, backbone=BackboneChoice("efficientnet_lite0"), device="raspberry_pi_4")
    return build(options, folder / "digits.bundle", how=ExportOptions(force=force), watcher=watcher)


def write_digits(folder: Path) -> None:
    """Write scikit-learn's digits to `folder`, one sub-folder a digit, as 128 x 128 grey PNG; those there are kept.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, the test set of 1,797 scans.
    """
    from PIL import Image

    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise DataError("the demo's digits come with scikit-learn: pip install 'edgetransfer[demo]'") from missing

    digits = load_digits()
    for number, (scan, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(digit) / f"{number:04}.png"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = (255 - scan * 255 / 16).astype(np.uint8)  # ink is 16 in the scans; black on white as on paper
        page = Image.new("L", (PHOTO_PX, PHOTO_PX), 255)
        margin = (PHOTO_PX - DIGIT_PX) // 2
        # The scans are 8 x 8; enlarged smoothly, for a network that has seen photos.
        page.paste(Image.fromarray(grey).resize((DIGIT_PX, DIGIT_PX), Image.Resampling.BICUBIC), (margin, margin))
        partial = path.with_suffix(".part")
        page.save(partial, format="PNG")
        partial.replace(path)
