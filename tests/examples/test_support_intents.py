"""The intents of customer service: its data are sound, and with the weights at hand it answers Chinese."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgetransfer.data import load_dataset
from edgetransfer.models import weights

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "support_intents"


def test_the_sentences_are_of_the_same_five_intents_and_none_is_in_both():
    english = load_dataset(FOLDER / "intents.csv", kind="text")
    chinese = load_dataset(FOLDER / "chinese.csv", kind="text", for_training=False)
    assert english.labels == chinese.labels
    assert len(english.labels) == 5
    assert len(chinese.split("test")) >= 30
    assert not {one.text for one in english.samples} & {one.text for one in chinese.samples}


@pytest.mark.slow
def test_heads_that_learned_english_answer_chinese(tmp_path):
    if any(status.path is None for status in weights.list_weights(["use_multilingual"])):
        pytest.skip("its weights are not here: edgetransfer weights fetch use_multilingual")
    done = subprocess.run(
        [sys.executable, FOLDER / "support_intents.py", "--output", tmp_path / "support.bundle"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "我的卡不见了: lost_card" in done.stdout
    assert "How tall is Mount Everest?: unknown" in done.stdout
