"""Labelled photos, sounds and sentences: reads folders and tables, cleans, finds copies, makes splits.

`load_dataset` is the one way in. It reads every file once, on all cores, and ends in a `Dataset` whose
`report` says what was left out and why. Needs numpy, and Pillow for photos or soundfile for sounds: devices evaluate
too.
"""

from __future__ import annotations

from edgetransfer.data.dataset import Dataset, Sample, load_dataset
from edgetransfer.data.report import DataReport
from edgetransfer.data.targets import TASKS, targets_of

__all__ = ["TASKS", "DataReport", "Dataset", "Sample", "load_dataset", "targets_of"]
