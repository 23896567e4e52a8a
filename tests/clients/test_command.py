from __future__ import annotations

import json

import client_checks.__main__ as command
import numpy as np
import pytest
from client_checks.comparison import Answers
from client_checks.failures import CheckFailed, Impossible


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    tiny_bundle.make_bundle(tmp_path / "tiny.bundle", scores_in_graph=True)
    return str(tmp_path / "tiny.bundle")


@pytest.fixture
def client(monkeypatch):
    """Puts a stand-in for every client, which does what it is given."""

    def put(ask):
        clients = {name: command.Client(one.format, "1", ask) for name, one in command.CLIENTS.items()}
        monkeypatch.setattr(command, "CLIENTS", clients)

    return put


def same(sample, document):
    return sample.ours


def test_a_client_that_answers_as_we_do_passes(bundle, client, capsys):
    client(same)
    assert command.main(["mediapipe", bundle]) == 0
    assert "ok, labels in our order, first label the same for" in capsys.readouterr().out


def test_json_is_one_document_with_the_figures(bundle, client, capsys):
    client(same)
    assert command.main(["all", bundle, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [one["client"] for one in results] == ["mediapipe", "litert_js"]
    assert results[0]["apart"] == 0
    assert results[0]["unit"] == "steps"


def test_a_client_without_a_bundle_is_named(bundle, client, capsys):
    client(same)
    assert command.main(["all", bundle]) == 0
    assert "none  onnx: no bundle among these is in its format" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (lambda sample, _: Answers(sample.ours.labels[::-1], sample.ours.outputs), "label 0: expected"),
        (lambda sample, _: Answers(sample.ours.labels, sample.ours.outputs[:, ::-1]), "expected our first label"),
        (lambda sample, _: Answers(sample.ours.labels, np.full_like(sample.ours.outputs, 0.3)), "steps between"),
    ],
    ids=["labels in another order", "outputs in another order", "constant outputs"],
)
def test_a_client_that_answers_otherwise_fails_and_says_how(bundle, client, capsys, ask, reason):
    client(ask)
    assert command.main(["mediapipe", bundle]) == 1
    output = capsys.readouterr().out
    assert "FAILED" in output
    assert reason in output


def test_what_is_impossible_fails_unless_it_may_be_skipped(bundle, client, capsys):
    def ask(sample, document):
        raise Impossible("no network")

    client(ask)
    assert command.main(["mediapipe", bundle]) == 1
    assert command.main(["mediapipe", bundle, "--skip-if-impossible"]) == 0
    assert "SKIPPED: no network" in capsys.readouterr().out


def test_a_failure_is_never_skipped(bundle, client):
    def ask(sample, document):
        raise CheckFailed("wrong")

    client(ask)
    assert command.main(["mediapipe", bundle, "--skip-if-impossible"]) == 1


def test_integer_outputs_are_refused_with_the_option_that_helps(tiny_bundle, tmp_path, capsys):
    tiny_bundle.make_bundle(tmp_path / "tiny.bundle")
    assert command.main(["mediapipe", str(tmp_path / "tiny.bundle")]) == 1
    assert "know no int8 outputs; export it with --scores-in-graph" in capsys.readouterr().err


def test_another_format_is_refused(bundle, capsys):
    assert command.main(["onnx", bundle]) == 1
    assert "expected format onnx, got litert" in capsys.readouterr().err


def test_no_bundle_and_no_images_are_refused(tiny_bundle, tmp_path, capsys):
    assert command.main(["mediapipe", str(tmp_path)]) == 1
    assert "Error: " in capsys.readouterr().err
    tiny_bundle.make_bundle(tmp_path / "bare.bundle", scores_in_graph=True, golden=False)
    assert command.main(["mediapipe", str(tmp_path / "bare.bundle")]) == 1
    assert "name a folder of photos with --data" in capsys.readouterr().err


def test_an_unknown_client_is_a_wrong_option(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["tensorflow"])
    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_photos_are_asked_about_besides_the_golden_images(bundle, client, photos, tmp_path, capsys):
    client(same)
    folder = photos.write_photos(tmp_path / "photos", each=4)
    counts = []
    for more in ([], ["--data", str(folder)]):
        command.main(["mediapipe", bundle, "--json", *more])
        counts.append(json.loads(capsys.readouterr().out)[0]["images"])
    assert counts[1] == counts[0] + 12
