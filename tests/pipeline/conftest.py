"""A small backbone and small folders, so that the whole pipeline runs in seconds; and another machine."""

from __future__ import annotations

import importlib.util
import sys
import tarfile
from pathlib import Path

import pytest

from edgetransfer.pipeline import remote
from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.pipeline.remote_packages import Packages
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
        return BuildOptions(**{"data": folder, "backbone": choice, "epochs": 10, "learning_curve": False, **changes})

    return make


@pytest.fixture(scope="session")
def built(tmp_path_factory, options_for):
    """A finished build: its report; the run lies beside the bundle."""
    return build(options_for(), tmp_path_factory.mktemp("built") / "small.bundle")


@pytest.fixture(scope="session")
def sshd():
    """The helper `sshd.py`, which starts an SSH server."""
    spec = importlib.util.spec_from_file_location("edgetransfer_tests_sshd", Path(__file__).with_name("sshd.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def running(sshd, tmp_path_factory):
    if not sshd.HERE:
        pytest.skip("needs an SSH server and client (Debian: openssh-server, openssh-client)")
    try:
        with sshd.serve(tmp_path_factory.mktemp("sshd")) as server:
            yield server
    except sshd.NoServer as trouble:
        pytest.skip(f"sshd does not start here: {trouble}")


@pytest.fixture
def server(running):
    """Another machine, as it was at first."""
    running.reset()
    return running


@pytest.fixture(scope="module")
def odd_bundle(tmp_path_factory, tiny_bundle):
    """A bundle whose path no shell may take apart."""
    return tiny_bundle.make_bundle(tmp_path_factory.mktemp("bundles") / 'it\'s a "tiny" $(one).bundle').path


@pytest.fixture
def at_hand(monkeypatch, tmp_path):
    """No wheels to fetch: the Python of the other machine is this one, and has what is needed."""
    with tarfile.open(tmp_path / "none.tar.gz", "w:gz"):
        pass
    nothing = Packages(tmp_path / "none.tar.gz", {}, 0)
    monkeypatch.setattr(remote, "packages_for", lambda *_: nothing)
