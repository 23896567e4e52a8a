"""Trains intents of customer service on English sentences, and answers Chinese ones: with rejection of what is neither.

    edgetransfer weights fetch use_multilingual
    python examples/support_intents/support_intents.py

The sentences beside this file are the example's own. The backbone has learned sixteen languages, so a head that saw
English alone answers the others too; the Chinese sentences are only measured on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgetransfer.data import load_dataset
from edgetransfer.evaluate import evaluate_bundle
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.pipeline.split import build_split
from edgetransfer.pipeline.split_head import HeadWish
from edgetransfer.runtime import Predictor
from edgetransfer.spec.backbone import BackboneChoice

HERE = Path(__file__).parent
ASKED = ("我的卡不见了", "Wie bekomme ich mein Geld zurück?", "How tall is Mount Everest?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="use_multilingual")
    parser.add_argument("--output", type=Path, default=Path("support.bundle"))
    asked = parser.parse_args()
    options = BuildOptions(HERE / "intents.csv", BackboneChoice(asked.backbone))
    report = build_split(options, [HeadWish("intent", HERE / "intents.csv")], asked.output, reject=0.2)
    print(report.as_text())
    chinese = load_dataset(HERE / "chinese.csv", kind="text", for_training=False)
    print(evaluate_bundle(report.bundle, chinese, "test").as_text())
    with Predictor.load(asked.output) as predictor:
        for sentence in ASKED:
            result = predictor.predict(sentence)
            print(f"{sentence}: {result.label or 'unknown'} {result.reason}")


if __name__ == "__main__":
    main()
