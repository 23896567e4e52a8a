"""Weights from one network to another, measured on photos, written as a backbone that knows where it comes from."""

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.errors import BackboneError, OutputError, UnknownNameError, WeightsError
from edgetransfer.spec.preprocess import Normalisation

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models.backbone_file import BackboneFacts, read_facts, write_backbone  # noqa: E402
from edgetransfer.pipeline import transfer_repair  # noqa: E402
from edgetransfer.pipeline.transfer_measure import Measured, check  # noqa: E402
from edgetransfer.pipeline.transfer_repair import NOT_REPAIRED  # noqa: E402
from edgetransfer.pipeline.transfer_weights import TransferOptions, transfer_weights  # noqa: E402
from edgetransfer.transfer.agreement import Agreement  # noqa: E402
from edgetransfer.transfer.mapping import WeightMapping  # noqa: E402

FACTS = BackboneFacts("small", Normalisation(1 / 127.5, 127), "Apache-2.0", "", "photographs")
OTHER = BackboneFacts("empty", Normalisation(1 / 255, 0), "not stated", "", "nothing")


def network(width, px=32):
    layers = keras.layers
    pixels = keras.Input((px, px, 3), name="pixels")
    x = layers.Conv2D(width, 3, 2, padding="same", use_bias=False, name="stem")(pixels)
    x = layers.ReLU(6, name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    y = layers.Conv2D(width, 1, use_bias=False, name="project")(layers.BatchNormalization(name="depthwise_norm")(y))
    x = layers.Add(name="add")([x, layers.BatchNormalization(name="project_norm")(y)])
    x = layers.ReLU(6, name="last_relu")(layers.Conv2D(24, 1, name="last")(x))
    return keras.Model(pixels, layers.GlobalAveragePooling2D(name="pool")(x), name="small")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Networks of one structure: a source of width 8, and others to fill."""
    keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp("networks")
    for name, width, facts in (
        ("source", 8, FACTS),
        ("same", 8, OTHER),
        ("narrow", 6, OTHER),
        ("wide", 12, OTHER),
        ("thin", 1, OTHER),
    ):
        write_backbone(folder / f"{name}.keras", network(width), facts)
    write_backbone(folder / "narrow_24_px.keras", network(6, px=24), OTHER)
    return folder


@pytest.fixture(scope="module")
def photos_folder(photos, tmp_path_factory):
    return photos.write_photos(tmp_path_factory.mktemp("photos"), each=14, size_px=(32, 32))


def options(files, target, **more):
    return TransferOptions(f"keras:{files / 'source.keras'}", f"keras:{files / target}.keras", **more)


def features(path):
    pixels = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    return np.asarray(keras.models.load_model(path)(pixels))


@pytest.mark.parametrize("target", ["same", "wide"])
def test_the_function_arrives_and_the_file_says_whose_it_is(target, files, photos_folder, tmp_path):
    out = tmp_path / "filled.keras"
    report = transfer_weights(options(files, target, data=photos_folder), out)
    assert report.mapping.coverage == 1
    assert report.measured.agreed.read_out == 1
    assert report.measured.agreed.relative_difference <= 1e-4
    assert report.measured.agreed.cka > report.measured.untrained.cka
    np.testing.assert_allclose(features(out), features(files / "source.keras"), rtol=1e-4, atol=1e-5)
    facts = read_facts(out)
    assert (facts.licence, facts.normalisation) == ("Apache-2.0", FACTS.normalisation)
    assert facts.history[-1]["step"] == "transfer_weights"
    assert facts.history[-1]["about"]["coverage"] == 1
    assert f"--backbone keras:{out}" in report.as_text()


def test_after_a_cut_the_best_repair_stays(files, photos_folder, tmp_path):
    report = transfer_weights(
        options(files, "narrow", data=photos_folder, least_agreement=0.0), tmp_path / "slim.keras"
    )
    repaired = report.measured.repaired
    assert set(repaired.tried) == {"none", "statistics", "reconstruction"}
    assert report.measured.agreed.read_out == max(repaired.tried.values()) == repaired.tried[repaired.taken]
    assert repaired.images > 0
    assert report.to_json()["agreement_by_repair"] == repaired.tried
    assert read_facts(tmp_path / "slim.keras").history[-1]["about"]["repair"] == repaired.taken
    assert "(taken)" in report.as_text()
    assert "6 of 8 channels out" in report.as_text()


@pytest.mark.parametrize(("best", "taken"), [(0, "none"), (1, "statistics"), (2, "reconstruction")])
def test_the_weights_that_are_written_are_those_of_the_repair_that_was_taken(
    best, taken, files, photos_folder, tmp_path, monkeypatch
):
    asked = iter(range(3))
    monkeypatch.setattr(transfer_repair, "agreement", lambda *_: GOOD if next(asked) == best else POOR)
    out = tmp_path / "slim.keras"
    report = transfer_weights(options(files, "narrow", data=photos_folder, least_agreement=0.0), out)
    assert report.measured.repaired.taken == taken
    written, source = keras.models.load_model(out), keras.models.load_model(files / "source.keras")
    kernel = np.asarray(written.get_layer("stem").kernel).reshape(27, 6)
    given = np.asarray(source.get_layer("stem").kernel).reshape(27, 8)
    cut = all((np.abs(given - kernel[:, [channel]]).max(axis=0) < 1e-6).any() for channel in range(6))
    assert cut == (taken != "reconstruction")


def test_layers_are_fitted_at_the_targets_input_size(files, photos_folder):
    report = transfer_weights(options(files, "narrow_24_px", data=photos_folder, least_agreement=0.0), None)
    assert "reconstruction" in report.measured.repaired.tried


def test_photos_decide_by_what_channels_are_ranked(files, photos_folder, tmp_path):
    for name, more in (("without", {}), ("with", {"data": photos_folder, "least_agreement": 0.0})):
        transfer_weights(options(files, "narrow", **more), tmp_path / f"{name}.keras")
    ranked = [read_facts(tmp_path / f"{name}.keras").history[-1]["about"]["importance"] for name in ("without", "with")]
    assert ranked == ["l1", "bn"]


def test_what_does_not_agree_is_not_written(files, photos_folder, tmp_path):
    out = tmp_path / "slim.keras"
    with pytest.raises(BackboneError, match=r"--least-agreement asks for 100.0%.*Nothing was written"):
        transfer_weights(options(files, "thin", data=photos_folder, least_agreement=1.0), out)
    assert not out.exists()


def test_equal_transfers_are_equal_files(files, tmp_path):
    for name in ("a", "b"):
        transfer_weights(options(files, "narrow"), tmp_path / f"{name}.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


def test_without_photos_no_agreement_is_claimed(files):
    report = transfer_weights(options(files, "narrow"), None)
    assert "agreement not measured" in report.as_text()
    assert "nothing was written" in report.as_text()
    assert report.to_json()["agreement"] is None


def test_weights_alone_go_into_their_own_architecture_only(files, tmp_path):
    weights = replace(options(files, "same"), source=str(files / "source.keras"))
    report = transfer_weights(weights, tmp_path / "filled.keras")
    assert any("does not say what it expects of a pixel" in note for note in report.mapping.notes)
    np.testing.assert_allclose(features(tmp_path / "filled.keras"), features(files / "source.keras"), rtol=1e-5)
    assert read_facts(tmp_path / "filled.keras").licence == "not stated"
    assert read_facts(tmp_path / "filled.keras").normalisation == OTHER.normalisation
    with pytest.raises(WeightsError, match="the source must be a Keras model: keras:FILE"):
        transfer_weights(replace(weights, target=f"keras:{files / 'narrow.keras'}"), None)


def test_what_pixels_weights_alone_expect_can_be_said(files, tmp_path):
    weights = replace(options(files, "same"), source=str(files / "source.keras"), normalisation=FACTS.normalisation)
    report = transfer_weights(weights, tmp_path / "filled.keras")
    assert report.mapping.notes == ()
    assert read_facts(tmp_path / "filled.keras").normalisation == FACTS.normalisation


def test_weights_alone_are_judged_by_what_can_be_read_out_of_the_target(files, photos_folder, monkeypatch):
    monkeypatch.setattr("edgetransfer.pipeline.transfer_weights.check", lambda *_: None)  # random weights may fail it
    weights = replace(options(files, "same", data=photos_folder), source=str(files / "source.keras"))
    report = transfer_weights(weights, None)
    assert set(report.measured.right) == {"target", "untrained"}
    assert report.measured.agreed is None
    assert "the source has weights alone and cannot be run" in report.as_text()


@pytest.mark.slow
def test_a_registered_network_is_filled_from_a_wider_one(photos_folder, tmp_path):
    from edgetransfer.models.backbones import mobilenet_v2
    from edgetransfer.pipeline.transfer_measure import randomise
    from edgetransfer.transfer.keras_graph import KerasGraph

    wide = mobilenet_v2.build(0.5, 96, 96)
    randomise(KerasGraph.of(wide), 1)
    write_backbone(tmp_path / "wide.keras", wide, replace(FACTS, name="mobilenet_v2"))
    asked = TransferOptions(f"keras:{tmp_path / 'wide.keras'}", "mobilenet_v2:0.35:64", data=photos_folder)
    report = transfer_weights(replace(asked, least_agreement=0.0), tmp_path / "slim.keras")
    assert report.mapping.coverage == 1
    assert set(report.measured.repaired.tried) == {"none", "statistics", "reconstruction"}
    assert keras.models.load_model(tmp_path / "slim.keras").input.shape == (None, 64, 64, 3)
    assert read_facts(tmp_path / "slim.keras").licence == "Apache-2.0"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"target": "mobilnet_v2"}, UnknownNameError, "did you mean 'mobilenet_v2'"),
        ({"target": "mobilenet_v2:half"}, BackboneError, "expected NAME:ALPHA:PX"),
        ({"target": "mobilenet_v2:0.4"}, BackboneError, "expected an alpha of"),
        ({"target": "yamnet"}, BackboneError, "looks at audio"),
        ({"source": "yamnet"}, BackboneError, "looks at audio"),
        ({"source": "nowhere.pth"}, WeightsError, "nowhere.pth: cannot be read"),
        ({"renames": ("x",)}, WeightsError, "expected REGEX=REPLACEMENT"),
        ({"least_agreement": 0.5}, WeightsError, "give --data"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(changes, error, message, files):
    with pytest.raises(error, match=message):
        transfer_weights(replace(options(files, "same"), **changes), None)


def test_agreement_with_what_cannot_be_run_is_refused(files, photos_folder):
    given = replace(options(files, "same", data=photos_folder, least_agreement=0.5), source=str(files / "source.keras"))
    with pytest.raises(WeightsError, match="has weights alone and cannot be run"):
        transfer_weights(given, None)


def test_an_output_that_exists_is_kept(files):
    with pytest.raises(OutputError, match="exists already"):
        transfer_weights(options(files, "same"), files / "narrow.keras")


# === The gate ===

SAME = WeightMapping("source", "target", (), (), same=True)
CUT = replace(SAME, same=False)
GOOD, POOR = Agreement(100, 0.9, None, 0.8, None), Agreement(100, 0.2, None, 0.4, None)


def measured(agreed, untrained, right=()):
    return Measured(agreed, untrained, dict(right), NOT_REPAIRED)


def test_the_gate_passes_what_agrees_more_than_an_untrained_network():
    check(measured(GOOD, POOR), CUT, None)
    check(measured(POOR, GOOD), CUT, 0.4)
    check(measured(None, None, {"target": 0.6, "untrained": 0.5}), CUT, None)
    check(measured(replace(GOOD, relative_difference=9e-5), POOR), SAME, None)


@pytest.mark.parametrize(
    ("seen", "mapping", "least", "message"),
    [
        (measured(POOR, GOOD), CUT, None, r"on 40.0% of 100 images, an untrained one reaches 80.0% \(CKA 0.200"),
        (measured(replace(GOOD, cka=0.1), POOR), CUT, None, "CKA 0.100, untrained 0.200"),
        (measured(GOOD, POOR), CUT, 0.81, "--least-agreement asks for 81.0%"),
        (measured(replace(GOOD, relative_difference=2e-4), POOR), SAME, None, "features that differ by 0.0002"),
        (measured(None, None, {"target": 0.5, "untrained": 0.5}), CUT, None, "expect other pixels"),
    ],
)
def test_the_gate_refuses_what_does_not(seen, mapping, least, message):
    with pytest.raises(BackboneError, match=message):
        check(seen, mapping, least)
