"""What moving a model costs and brings: accuracy of the bundles that ship, and minutes, side by side in one run.

    tools/bench transfer tuning --data SPLITS.csv [--backbone efficientnet_lite0] [--epochs 12]
    tools/bench transfer narrowing --data SPLITS.csv --source keras:MOBILENET_V2.keras [--teacher efficientnet_lite2]
    tools/bench transfer forgetting --data SPLITS.csv [--backbone efficientnet_lite0] [--input-size 96]
    tools/bench transfer sources --data SPLITS.csv [--torch PYTHON]

  tuning      frozen, frozen with augmented views, fine-tuned, fused, tuned with fake quantization
  narrowing   MobileNetV2 1.0 into 0.5: from random weights, from transferred ones, and taught by a larger network
  forgetting  scikit-learn's digits, then the new data: tuned plainly, with replay, fused; what is left of the digits
  sources     one network as PyTorch, ONNX and TFLite into Keras: difference from each one's own runtime, 100 photos

Each row is an int8 bundle, scored on the test split; everything is chosen on validation. Minutes are of this process's
CPU time divided by its cores, so that other work on the machine counts less; the clock's minutes stand beside them.
Features that the cache has already cost nothing: EDGETRANSFER_CACHE=NEW_FOLDER lets all rows begin without any.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
from pathlib import Path


def main() -> None:
    from transfers import forgetting, narrowing, sources, tuning

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_subparsers(dest="which", required=True)
    for bench in (tuning, narrowing, forgetting, sources):
        own = which.add_parser(bench.__name__.rpartition(".")[2], help=bench.__doc__.splitlines()[0])
        own.add_argument("--data", type=Path, required=True, help="a folder with a folder for each class, or a CSV")
        own.add_argument("--keep", type=Path, help="a folder that keeps backbones and bundles; else they are removed")
        own.add_argument("--json", action="store_true")
        bench.add_options(own)
        own.set_defaults(run=bench.run)
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as name:
        folder = asked.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        report = asked.run(asked, folder)
    print(json.dumps(report.to_json(), indent=1) if asked.json else report.as_text())


if __name__ == "__main__":
    main()
