"""How long `recommend` takes, what it picks, and whether its ranking is that of the bundles' true test accuracy.

    tools/bench recommend [--data FOLDER_OR_CSV] [--device NAME] [--max-latency-ms N] [--max-bytes N] [--top 3]
                          [--photos 600] [--time-budget 300] [--backbone NAME]... [--input-size PX]...
                          [--recipe NAME]... [--seed 0] [--epochs 25] [--json]

Recommends, then builds the pick and the most accurate others that are expected to hold the limits, --top in all, as
`edgetransfer build` does, and scores each bundle on the test split, which nothing was chosen on. Of every two bundles
it is told whether the estimate, and LogME, put them in the order of their test accuracies, and whether these differ by
more than their 95 % intervals, which is strict. The time with a warm cache is that of a second run. Without --data,
scikit-learn's digits are used.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder or a CSV; scikit-learn's digits if not given")
    parser.add_argument("--device", help="this machine if not given")
    parser.add_argument("--max-latency-ms", type=float)
    parser.add_argument("--max-bytes", type=int)
    parser.add_argument("--top", type=int, default=3, help="bundles to build (default 3)")
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--time-budget", type=float, default=300.0)
    parser.add_argument("--backbone", action="append", default=[])
    parser.add_argument("--input-size", type=int, action="append", default=[])
    parser.add_argument("--recipe", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=25, help="of the heads that are built")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as folder:
        report = measure(asked, Path(folder))
    print(json.dumps(report) if asked.json else as_text(report))


def measure(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from edgetransfer.pipeline.demo import write_digits
    from edgetransfer.pipeline.recommend import RecommendOptions, recommend
    from edgetransfer.pipeline.recommend_candidates import Space
    from edgetransfer.pipeline.recommend_choice import Limits

    data = asked.data
    if data is None:
        data = folder / "digits"
        write_digits(data)
    space = Space(tuple(asked.backbone), (), tuple(asked.input_size), tuple(asked.recipe))
    limits = Limits(asked.max_latency_ms, asked.max_bytes)
    options = RecommendOptions(data, asked.device, limits, space, asked.photos, asked.time_budget, asked.seed)
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        found = recommend(options)
        seconds.append(time.perf_counter() - begun)
        if len(seconds) == 1:
            first = found
            os.write(2, f"{first.as_text()}\n\n".encode())
    rows = [built(asked, data, one, folder / f"{number}.bundle") for number, one in enumerate(picks(first, asked.top))]
    report: dict[str, Any] = {"first_seconds": seconds[0], "second_seconds": seconds[1], "reason": first.reason}
    left = [one.what for one in first.left_out if one.kind == "time"]
    return report | {"judged": len(first.judged), "no_time_for": left, "picks": rows, "pairs": pairs(rows)}


def picks(found: Any, most: int) -> list[Any]:
    """Return the best, then the most accurate others within the limits."""
    others = sorted(found.judged, key=lambda one: -one.accuracy)
    within = [one for one in others if one is not found.best and found.limits.expected_within(one.cost)]
    return ([] if found.best is None else [found.best, *within])[:most]


def built(asked: argparse.Namespace, data: Path, one: Any, output: Path) -> dict[str, Any]:
    from edgetransfer.pipeline.build import build
    from edgetransfer.pipeline.options import BuildOptions

    options = BuildOptions(
        data=data,
        backbone=one.candidate.choice,
        recipe=one.candidate.recipe,
        device=asked.device,
        float_reference=False,
        epochs=asked.epochs,
        seed=asked.seed,
    )
    begun = time.perf_counter()
    report = build(options, output)
    test = report.exported["test"]
    row = {
        "name": one.name,
        "estimate": one.accuracy,
        "estimate_95": list(one.accuracy_95),
        "log_me": one.log_me,
        "test": test.accuracy,
        "test_95": list(test.accuracy_95),
        "test_photos": test.samples,
        "build_seconds": time.perf_counter() - begun,
    }
    os.write(2, f"{one.name}: estimate {one.accuracy:.1%}, test {test.accuracy:.1%}\n".encode())
    return row


def pairs(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return of how many pairs the estimates have the order of the test accuracies."""
    found = {"pairs": 0, "apart_on_test": 0, "right_by_estimate": 0, "right_by_log_me": 0}
    for one, other in itertools.combinations(rows, 2):
        better, worse = (one, other) if one["test"] >= other["test"] else (other, one)
        found["pairs"] += 1
        found["apart_on_test"] += better["test_95"][0] > worse["test_95"][1]
        found["right_by_estimate"] += better["estimate"] >= worse["estimate"]
        found["right_by_log_me"] += better["log_me"] >= worse["log_me"]
    return found


def as_text(report: dict[str, Any]) -> str:
    lines = [
        f"recommend: {report['first_seconds']:.1f} s, again with a warm cache {report['second_seconds']:.1f} s; "
        f"{report['judged']} candidates judged, {len(report['no_time_for'])} not for lack of time",
        report["reason"],
        "",
        f"{'pick':<44}{'estimate':>10}{'LogME':>9}{'test':>8}  95 % interval of test",
    ]
    for row in report["picks"]:
        low, high = (100 * end for end in row["test_95"])
        lines.append(
            f"{row['name']:<44}{row['estimate']:>10.1%}{row['log_me']:>9.3f}{row['test']:>8.1%}  {low:.1f} to "
            f"{high:.1f} ({row['test_photos']} photos)"
        )
    if report["picks"]:
        best = max(row["test"] for row in report["picks"])
        found = report["pairs"]
        lines.append(
            f"the pick is {100 * (best - report['picks'][0]['test']):.1f} points below the best of these on test; of "
            f"{found['pairs']} pairs the estimate has {found['right_by_estimate']} in the order of test, LogME "
            f"{found['right_by_log_me']}; {found['apart_on_test']} are apart on test by more than their intervals"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
