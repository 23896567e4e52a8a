"""A phone's model moved to a grey camera: its stem adapted, both built for a device, and compared on a sensor's frames.

    python examples/grey_camera/grey_camera.py photos/ out/ --device raspberry_pi_zero_2w

Makes out/grey.keras, out/rgb.bundle and out/grey.bundle. The photos may be in colour: the bundle's own reader turns
files grey, in training as on the device. A sensor such as the OV7251 gives grey frames (480, 640) uint8, which
`Predictor.predict` takes as they are.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetransfer.cli.progress import progress
from edgetransfer.data import Sample
from edgetransfer.errors import DataError, EdgetransferError
from edgetransfer.pipeline.build import BuildReport, build
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.pipeline.reshape import reshape
from edgetransfer.pipeline.train import read_data
from edgetransfer.runtime import Predictor
from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import ImageInput

SENSOR = (480, 640)  # rows and columns of the OV7251, as of many others
TIMED = 50  # frames that latency is measured on


@dataclass(frozen=True, slots=True)
class Seen:
    """What a bundle said of the frames of its camera."""

    frame_bytes: int
    input_bytes: int
    right: int
    frames: int
    latency_ms: float


def main() -> int:
    """Reshape, build both, and compare."""
    parser = argparse.ArgumentParser(description="Move a backbone to a grey camera, and compare it with its RGB self.")
    parser.add_argument("photos", type=Path, help="a folder with a folder for each class, or a CSV")
    parser.add_argument("output", type=Path, help="a folder for the backbone and the bundles")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--device", default="raspberry_pi_zero_2w")
    args = parser.parse_args()
    options = BuildOptions(
        args.photos,
        BackboneChoice(args.backbone),
        recipe="static_int8",
        device=args.device,
        golden="synthetic",
        float_reference=False,
    )
    try:
        with progress(quiet=False) as watcher:
            print(moved(options, args.output, watcher))
    except EdgetransferError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def moved(options: BuildOptions, output: Path, watcher: Watcher) -> str:
    """Write the grey backbone and both bundles to `output`; return how they compare, as text."""
    how = ExportOptions(force=True)
    output.mkdir(parents=True, exist_ok=True)
    samples = read_data(options, options.data, watcher).split("test")
    if not samples:
        raise DataError(f"{options.data}: expected a test split, whose photos the cameras are shown, got none")
    shaped = reshape(options.backbone, output / "grey.keras", channels=1, force=True, watcher=watcher)
    print(shaped.as_text(), end="\n\n")
    rgb = build(options, output / "rgb.bundle", how=how, watcher=watcher)
    grey_options = replace(options, backbone=BackboneChoice(f"keras:{output / 'grey.keras'}"), fit=rgb.train.fit)
    grey = build(grey_options, output / "grey.bundle", how=how, watcher=watcher)
    return table(rgb, grey, look(rgb, samples, channels=3), look(grey, samples, channels=1))


def frames(samples: Sequence[Sample], channels: int) -> Iterator[NDArray[np.uint8]]:
    """Yield what a sensor would see of each photo: (480, 640, 3) uint8 RGB, or grey (480, 640) uint8."""
    sensor = ImageInput(*SENSOR, "squash", channels=channels)
    for sample in samples:
        frame = prepare(read_image(sample.path, channels=channels), sensor)
        yield frame if channels > 1 else frame[:, :, 0]


def look(report: BuildReport, samples: Sequence[Sample], channels: int) -> Seen:
    """Show the bundle the frames of its camera; latency is that of `predict`, from the frame to the answer."""
    right, times_ms, frame_bytes = 0, [], 0
    with Predictor.load(report.bundle) as predictor:
        for frame, sample in zip(frames(samples, channels), samples, strict=True):
            right += predictor.predict(frame).label == sample.label
            frame_bytes = frame.nbytes
        for _ in range(TIMED):
            begun = time.perf_counter()
            predictor.predict(frame)
            times_ms.append((time.perf_counter() - begun) * 1e3)
    input_bytes = int(np.prod(report.bundle.manifest.image.shape))
    return Seen(frame_bytes, input_bytes, right, len(samples), statistics.median(times_ms))


def table(rgb: BuildReport, grey: BuildReport, rgb_seen: Seen, grey_seen: Seen) -> str:
    """Return the comparison, a line a figure."""
    rows = [("", "RGB", "grey")]
    pairs = ((rgb, rgb_seen), (grey, grey_seen))
    rows.append(("test accuracy", *(f"{report.exported['test'].accuracy:.1%}" for report, _ in pairs)))
    rows.append(("right of the sensor's frames", *(f"{seen.right} of {seen.frames}" for _, seen in pairs)))
    rows.append(("bytes of a frame", *(f"{seen.frame_bytes:,}" for _, seen in pairs)))
    rows.append(("bytes of the model's input", *(f"{seen.input_bytes:,}" for _, seen in pairs)))
    rows.append(("bytes of the model", *(f"{report.bundle.model_path.stat().st_size:,}" for report, _ in pairs)))
    rows.append(("from frame to answer, here", *(f"{seen.latency_ms:.2f} ms" for _, seen in pairs)))
    lines = [f"{name:<30}{one:>14}{other:>14}" for name, one, other in rows]
    for name, report in (("RGB", rgb), ("grey", grey)):
        if report.predicted is not None:
            lines.append(f"{name} on the device, predicted: {report.predicted.as_text()}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
