"""Several bundles on the same data."""

import pytest
from PIL import Image

from edgetransfer.data import load_dataset
from edgetransfer.errors import DataError, InputError
from edgetransfer.pipeline.compare import compare, difference_95, mcnemar

binomtest = pytest.importorskip("scipy.stats", reason="comes with the extra 'train'").binomtest


@pytest.fixture(scope="module")
def data(tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("colours") / "test"
    for channel, label in enumerate(tiny_bundle.LABELS):
        (folder.parent / "train" / label).mkdir(parents=True)
        (folder / label).mkdir(parents=True)
        for number, frame in enumerate(tiny_bundle.shades(channel, 11)):
            place = folder if number > 1 else folder.parent / "train"
            Image.fromarray(frame).save(place / label / f"{number}.png")
    return load_dataset(folder.parent, seed=0)


@pytest.fixture(scope="module")
def bundles(tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    tiny_bundle.make_bundle(folder / "right.bundle")
    # The same graph, but red and green are taken for each other.
    tiny_bundle.make_bundle(folder / "mixed.bundle", task=tiny_bundle.Task("single_label", ("green", "red", "blue")))
    return folder


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 5), (1, 9), (0, 6), (700, 800)])
def test_mcnemar_is_the_exact_binomial_test(first, second):
    wanted = 1.0 if first + second == 0 else binomtest(first, first + second).pvalue
    assert mcnemar(first, second) == pytest.approx(wanted, rel=1e-9)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_the_interval_of_a_difference_is_the_published_one():
    # Agresti, Categorical Data Analysis, chapter 10: 1,600 voters asked twice, 150 and 86 changed their mind; there
    # 0.04 +- 1.96 * 0.0095, without half a voter added.
    low, high = difference_95(150, 86, 1600)
    assert (low, high) == pytest.approx((0.04 - 1.96 * 0.0095, 0.04 + 1.96 * 0.0095), abs=1e-3)
    assert difference_95(86, 150, 1600) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("first", "second", "inputs"), [(0, 0, 20), (3, 1, 40), (12, 30, 431)])
def test_the_interval_holds_the_difference_and_gets_narrower_with_more_inputs(first, second, inputs):
    low, high = difference_95(first, second, inputs)
    assert low <= (first - second) / inputs <= high
    more = difference_95(10 * first, 10 * second, 10 * inputs)
    assert more[1] - more[0] < high - low


def test_two_bundles_are_told_apart_and_where_each_is_ahead(bundles, data):
    report = compare([bundles / "right.bundle", bundles / "mixed.bundle"], data)
    right, mixed = report.contestants
    assert right.report.accuracy == 1.0
    assert mixed.report.accuracy == pytest.approx(1 / 3)
    (pair,) = report.pairs
    assert (pair.only_first, pair.only_second) == (18, 0)
    assert pair.difference == pytest.approx(2 / 3)
    low, high = pair.difference_95
    assert 0 < low < pair.difference < high < 1
    assert pair.first_wins == {"green": 9, "red": 9}
    assert pair.second_wins == {}
    assert pair.p_value == pytest.approx(2 * 0.5**18)
    text = report.as_text()
    assert "right.bundle against mixed.bundle" in text
    assert "right.bundle is ahead on green (+9), red (+9)" in text
    assert ": a difference" in text
    assert report.to_json()["pairs"][0]["only_first_right"] == 18


def test_a_bundle_does_not_differ_from_itself(bundles, data):
    report = compare([bundles / "right.bundle", bundles / "right.bundle/../right.bundle"], data)
    assert report.pairs[0].p_value == 1.0
    assert "no difference that these inputs show" in report.as_text()


def test_the_old_task_stands_beside_the_new_one(bundles, data):
    report = compare([bundles / "right.bundle", bundles / "mixed.bundle"], data, old=data)
    assert [one.old.accuracy for one in report.contestants] == [1.0, pytest.approx(1 / 3)]
    assert "old task" in report.as_text()


def test_a_bundle_that_never_knew_the_old_task_is_left_out_there(bundles, data, photos, tmp_path):
    class Notes:
        def __init__(self):
            self.texts = []

        def stage(self, title): ...

        def step(self, done, total): ...

        def note(self, text):
            self.texts.append(text)

    notes = Notes()
    other = load_dataset(photos.write_photos(tmp_path, each=8), seed=0)
    report = compare([bundles / "right.bundle", bundles / "mixed.bundle"], data, old=other, watcher=notes)
    assert [one.old for one in report.contestants] == [None, None]
    assert any("right.bundle is left out on the old task" in text for text in notes.texts)


def test_one_bundle_alone_is_refused(bundles, data):
    with pytest.raises(InputError, match="at least two bundles"):
        compare([bundles / "right.bundle"], data)


def test_other_labels_are_refused_by_name(bundles, photos, tmp_path):
    other = load_dataset(photos.write_photos(tmp_path, each=8), seed=0)
    with pytest.raises(DataError, match="unknown to the bundle: 'cat'"):
        compare([bundles / "right.bundle", bundles / "mixed.bundle"], other)
