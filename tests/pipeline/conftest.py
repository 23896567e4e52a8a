"""A small backbone and small folders, so that the whole pipeline runs in seconds."""

from __future__ import annotations

import pytest

from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation


@pytest.fixture(scope="session")
def backbone_file(tmp_path_factory, small_keras):
    path = tmp_path_factory.mktemp("backbone") / "small.keras"
    small_keras.save(path)
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory, photos):
    return photos.write_photos(tmp_path_factory.mktemp("data") / "photos", each=30)


@pytest.fixture(scope="session")
def options_for(folder, backbone_file):
    """Return build options for the small backbone and folder, with changes."""

    def make(**changes):
        choice = BackboneChoice(f"keras:{backbone_file}", normalisation=Normalisation(1 / 128, 127))
        return BuildOptions(**{"data": folder, "backbone": choice, "epochs": 10, **changes})

    return make


@pytest.fixture(scope="session")
def built(tmp_path_factory, options_for):
    """A finished build: its report; the run lies beside the bundle."""
    return build(options_for(), tmp_path_factory.mktemp("built") / "small.bundle")
