from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgetransfer.errors import OutputError
from edgetransfer.pipeline.demo import demo, write_digits
from edgetransfer.runtime.predictor import Predictor


def test_the_digits_are_written_as_photos_and_kept_when_there(tmp_path):
    pytest.importorskip("sklearn", reason="the digits come with the extra 'demo'")
    write_digits(tmp_path)
    photos = sorted(tmp_path.glob("*/*.png"))
    assert len(photos) == 1797
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(digit) for digit in range(10)]
    assert np.asarray(Image.open(photos[0])).shape == (128, 128)
    photos[0].write_bytes(b"the user's own")
    write_digits(tmp_path)
    assert photos[0].read_bytes() == b"the user's own"


@pytest.mark.slow
def test_the_demo_learns_digits_with_the_real_backbone_and_says_what_it_cost(tmp_path):
    pytest.importorskip("sklearn", reason="the digits come with the extra 'demo'")
    report = demo(tmp_path)
    assert report.bundle.manifest.backbone.name == "efficientnet_lite0"
    assert report.exported["test"].accuracy > 0.95
    assert abs(report.exported["test"].accuracy - report.floats["test"].accuracy) < 0.02
    assert report.profiled.model_bytes < 5_000_000
    with Predictor.load(tmp_path / "digits.bundle") as predictor:
        photos = sorted((tmp_path / "digits" / "7").glob("*.png"))[:20]
        assert [predictor.predict(photo).label for photo in photos].count("7") >= 18
    with pytest.raises(OutputError, match="exists already"):
        demo(tmp_path)
