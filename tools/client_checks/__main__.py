"""Opens our files with other programs, as the README says, and compares their answers with ours.

    tools/clients all|mediapipe|onnx|litert_js [BUNDLE...] [--data PHOTOS] [--json] [--skip-if-impossible]

MediaPipe Tasks and LiteRT.js read LiteRT bundles that were exported with --scores-in-graph, for neither knows int8
outputs; plain ONNX Runtime reads ONNX bundles. Without BUNDLE small ones are built here. Images are prepared before,
so that what is compared is the model, its labels and their order. What a client needs is installed on the first run:
packages from pip and npm into $EDGETRANSFER_CLIENTS_CACHE (default: ~/.cache/edgetransfer-clients), and as root on
Debian also Chromium and npm.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from client_checks.comparison import Answers, Comparison, compare
from client_checks.documented import README
from client_checks.failures import CheckFailed, Impossible
from client_checks.litert_js import ask_litert_js, version
from client_checks.python_clients import MEDIAPIPE, ONNXRUNTIME, ask_mediapipe, ask_onnx
from client_checks.samples import Sample, build_samples, read_sample
from edgetransfer.errors import EdgetransferError
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Client:
    """Another program: the format that it reads, what is installed for it, how it is asked."""

    format: str
    versions: str
    ask: Callable[[Sample, str], Answers]


CLIENTS: Mapping[str, Client] = {
    "mediapipe": Client("litert", MEDIAPIPE[0], ask_mediapipe),
    "onnx": Client("onnx", ONNXRUNTIME[0], ask_onnx),
    "litert_js": Client("litert", version(), ask_litert_js),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the clients that were asked for; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="tools/clients", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("client", choices=["all", *CLIENTS])
    parser.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE")
    parser.add_argument("--data", type=Path, metavar="PHOTOS", help="photos to ask about besides the golden images")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument(
        "--skip-if-impossible", action="store_true", help="no failure where network or root are missing: says so"
    )
    options = parser.parse_args(arguments)
    names = list(CLIENTS) if options.client == "all" else [options.client]
    try:
        with tempfile.TemporaryDirectory(prefix="edgetransfer-clients-") as folder:
            samples = _samples(names, options.bundles, options.data, Path(folder))
            results = [result for name in names for result in check(name, samples, quiet=options.json)]
    except (CheckFailed, EdgetransferError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    accepted = {"passed", "skipped"} if options.skip_if_impossible else {"passed"}
    return 0 if all(result["result"] in accepted for result in results) else 1


def check(name: str, samples: Sequence[Sample], *, quiet: bool) -> list[dict[str, Any]]:
    """Return what came of asking client `name` about each sample of its format, and print it unless `quiet`."""
    own = [sample for sample in samples if sample.bundle.manifest.format == CLIENTS[name].format]
    if not own and not quiet:
        print(f"    none  {name}: no bundle among these is in its format, {CLIENTS[name].format}", flush=True)
    results = []
    for sample in own:
        began = time.perf_counter()
        result = {"client": name, "versions": CLIENTS[name].versions, "bundle": sample.name} | _ask(name, sample)
        result["seconds"] = round(time.perf_counter() - began, 1)
        results.append(result)
        if not quiet:
            print(_line(result), flush=True)
    return results


def _ask(name: str, sample: Sample) -> dict[str, Any]:
    scores = sample.bundle.manifest.model.scores_in_graph
    try:
        theirs = CLIENTS[name].ask(sample, README.read_text(encoding="utf-8"))
        comparison = compare(sample.ours, theirs, step=sample.step, scores=scores)
    except Impossible as obstacle:
        return {"result": "skipped", "reason": str(obstacle)}
    except CheckFailed as failure:
        return {"result": "failed", "reason": str(failure)}
    result = (
        {"result": "passed", "reason": ""} if comparison.passed else {"result": "failed", "reason": _why(comparison)}
    )
    return {**result, "labels": theirs.labels, **asdict(comparison)}


def _why(found: Comparison) -> str:
    return (
        f"expected our first label for all {found.images} images and at most {found.limit:g} {found.unit} between "
        f"outputs, got {found.same_top} and {found.apart:.3g}"
    )


def _line(result: Mapping[str, Any]) -> str:
    start = f"{result['seconds']:6.1f} s  {result['client']} ({result['versions']}), {result['bundle']}: "
    if result["result"] == "passed":
        return start + (
            f"ok, labels in our order, first label the same for {result['same_top']} of {result['images']} images, "
            f"at most {result['apart']:.2g} {result['unit']} apart, outputs {result['outputs_apart']:.2g}"
        )
    return f"{start}{result['result'].upper()}: {result['reason']}"


def _samples(names: Sequence[str], bundles: Sequence[Path], data: Path | None, work: Path) -> list[Sample]:
    formats = {CLIENTS[name].format for name in names}
    if not bundles:
        data, bundles = build_samples(work, formats)
    samples = []
    for folder in bundles:
        bundle = Bundle.load(folder)
        refuse_unreadable(bundle.manifest, formats)
        samples.append(read_sample(bundle, data))
    return samples


def refuse_unreadable(manifest: Manifest, formats: Collection[str]) -> None:
    """Refuse a bundle that no client which was asked for can read.

    Raises:
        CheckFailed: another format, or outputs that the clients of its format do not know.
    """
    if manifest.format not in formats:
        readable = " or ".join(sorted(formats))
        raise CheckFailed(f"bundle {manifest.name!r}: expected format {readable}, got {manifest.format}")
    if manifest.format == "litert" and manifest.model.output.dtype != "float32":
        raise CheckFailed(
            f"bundle {manifest.name!r}: MediaPipe Tasks and LiteRT.js know no {manifest.model.output.dtype} outputs; "
            "export it with --scores-in-graph"
        )


if __name__ == "__main__":
    sys.exit(main())
