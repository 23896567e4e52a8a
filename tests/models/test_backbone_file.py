"""A backbone as one file: what Keras has no place for is inside, and equal models have equal bytes."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.errors import BackboneError
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models import backbones  # noqa: E402
from edgetransfer.models.backbone_file import MEMBER, BackboneFacts, backbone_bytes, read_facts, write_backbone  # noqa: E402

FACTS = BackboneFacts("small", Normalisation(1 / 127.5, 127), "Apache-2.0", "https://example.org/l", "photographs")


def test_plain_keras_opens_the_file(small_keras, tmp_path):
    write_backbone(tmp_path / "small.keras", small_keras, FACTS)
    found = keras.models.load_model(tmp_path / "small.keras")
    pixels = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(np.asarray(found(pixels)), np.asarray(small_keras(pixels)))


def test_equal_models_have_equal_bytes(small_keras):
    assert backbone_bytes(small_keras, FACTS) == backbone_bytes(small_keras, FACTS)


def test_as_a_backbone_it_needs_no_normalisation_and_loses_no_licence(small_keras, tmp_path):
    write_backbone(tmp_path / "small.keras", small_keras, FACTS)
    loaded = backbones.load(BackboneChoice(f"keras:{tmp_path / 'small.keras'}"))
    assert loaded.normalisation == FACTS.normalisation
    assert (loaded.licence, loaded.licence_url, loaded.pretrained_on) == (
        "Apache-2.0",
        "https://example.org/l",
        "photographs",
    )
    assert loaded.name == "keras:small.keras"


def test_another_normalisation_than_its_own_is_refused(small_keras, tmp_path):
    write_backbone(tmp_path / "small.keras", small_keras, FACTS)
    choice = BackboneChoice(f"keras:{tmp_path / 'small.keras'}", normalisation=Normalisation(1.0, 0))
    with pytest.raises(BackboneError, match="knows its normalisation"):
        backbones.load(choice)


def test_what_was_done_is_kept_in_order(small_keras, tmp_path):
    facts = FACTS.then("finetune", epochs=3, augmented=True).then("fuse", alpha=0.5)
    write_backbone(tmp_path / "small.keras", small_keras, facts)
    assert read_facts(tmp_path / "small.keras") == facts
    assert [step["step"] for step in facts.history] == ["finetune", "fuse"]


def test_a_model_of_another_origin_says_nothing(small_keras, tmp_path):
    small_keras.save(tmp_path / "own.keras")
    assert read_facts(tmp_path / "own.keras") is None
    (tmp_path / "legacy.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert read_facts(tmp_path / "legacy.h5") is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "expected JSON"),
        (b"[]", "expected an object"),
        (json.dumps(FACTS.to_json() | {"schema": 99}).encode(), "schema 99"),
        (json.dumps(FACTS.to_json() | {"licence": 3}).encode(), "licence: expected text"),
    ],
)
def test_facts_that_cannot_be_read_are_refused(content, says, tmp_path):
    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as archive:
        archive.writestr(MEMBER, content)
    with pytest.raises(BackboneError, match=says):
        read_facts(tmp_path / "odd.keras")


def test_a_name_that_keras_does_not_take_is_refused(small_keras, tmp_path):
    with pytest.raises(BackboneError, match=r"ends in \.keras"):
        write_backbone(tmp_path / "small.h5", small_keras, replace(FACTS))
