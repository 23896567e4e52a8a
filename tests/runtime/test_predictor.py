from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.errors import BundleError, EngineError, InputError, IntegrityError, UnknownNameError
from edgetransfer.runtime import Predictor
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.bundle import Bundle

_spec = importlib.util.spec_from_file_location("tiny_bundle", Path(__file__).parents[1] / "tiny_bundle.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny.make_bundle(tmp_path_factory.mktemp("bundles") / "tiny.bundle")


@pytest.fixture
def predictor(bundle):
    with Predictor.load(bundle.path) as opened:
        yield opened


def test_predict_names_the_colour_that_a_frame_mostly_has(predictor):
    results = predictor.predict_batch(tiny.frames()[:3])
    assert [result.label for result in results] == ["red", "green", "blue"]
    for result in results:
        assert tuple(result.scores) == predictor.labels == tiny.LABELS
        assert sum(result.scores.values()) == pytest.approx(1, abs=1e-12)
        assert result.score == result.scores[result.label] == max(result.scores.values())
        json.dumps(result.to_json())


def test_run_gives_the_stored_integers_of_the_recorded_outputs(predictor, bundle):
    golden = bundle.golden()
    for frame, wanted in zip(golden.raw, golden.own_outputs, strict=True):
        x = prepare(frame, bundle.manifest.preprocess)
        for form in (x, x[None]):
            output = predictor.run(form)
            assert output.dtype == np.int8
            assert output.shape == (1, 3)
            np.testing.assert_array_equal(output[0], wanted)


def test_what_run_returned_stays_as_it_is(predictor):
    first = predictor.run(np.zeros((16, 16, 3), np.uint8))
    kept = first.copy()
    predictor.run(np.full((16, 16, 3), 255, np.uint8))
    np.testing.assert_array_equal(first, kept)


def test_int8_logits_are_within_a_step_of_the_float_models(predictor, bundle):
    golden = bundle.golden()
    for i, frame in enumerate(golden.raw):
        output = predictor.run(prepare(frame, bundle.manifest.preprocess))
        wanted = tiny.LOGIT.quantize(golden.float_logits[i], "int8").astype(int)
        assert np.abs(output[0].astype(int) - wanted).max() <= 1


def test_scores_from_the_graph_are_taken_as_they_are(tmp_path):
    made = tiny.make_bundle(tmp_path / "scores.bundle", scores_in_graph=True)
    with Predictor.load(made) as predictor:
        frame = tiny.frames()[0]
        result = predictor.predict(frame)
        raw = predictor.run(prepare(frame, made.manifest.preprocess))
    assert raw.dtype == np.float32
    assert list(result.scores.values()) == [float(value) for value in raw[0]]


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((16, 16, 3), np.float32), "float32"),
        (np.zeros((17, 16, 3), np.uint8), r"\(17, 16, 3\)"),
        (np.zeros((2, 16, 16, 3), np.uint8), r"\(2, 16, 16, 3\)"),
        ([1], "list"),
    ],
)
def test_run_refuses_another_dtype_or_shape_and_points_to_predict(predictor, x, words):
    with pytest.raises(InputError, match=f"expected uint8.*{words}.*Predictor.predict"):
        predictor.run(x)


def test_one_predictor_answers_many_threads(predictor):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (20 + i, 30, 3), np.uint8) for i in range(8)]
    wanted = [predictor.predict(frame) for frame in frames]
    wrong = []

    def work(i: int) -> None:
        for _ in range(50):
            if predictor.predict(frames[i]) != wanted[i]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_predictors_share_nothing(bundle):
    first, second = Predictor.load(bundle), Predictor.load(bundle)
    first.close()
    assert second.predict(tiny.frames()[0]).label == "red"
    second.close()


def test_a_closed_predictor_says_so_and_may_be_closed_again(bundle):
    with Predictor.load(bundle) as predictor:
        pass
    predictor.close()
    with pytest.raises(EngineError, match="is closed; load it again"):
        predictor.run(np.zeros((16, 16, 3), np.uint8))


def test_a_changed_model_is_not_loaded(tmp_path):
    made = tiny.make_bundle(tmp_path / "tiny.bundle")
    content = bytearray(made.model_path.read_bytes())
    content[-1] ^= 1
    made.model_path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"model\.tflite was changed"):
        Predictor.load(made.path)


def test_a_manifest_that_lies_about_the_model_is_refused(tmp_path):
    other = tiny.TensorSpec("logits", (1, 3), "int8", tiny.Quantization(0.5, 0))
    model = tiny.ModelInfo("model.tflite", tiny.TensorSpec("pixels", (1, 16, 16, 3), "uint8"), other)
    made = tiny.write_bundle(tmp_path / "a.bundle", tiny.manifest(model=model), files())
    with pytest.raises(BundleError, match="the output means"):
        Predictor.load(made)
    four = tiny.write_bundle(tmp_path / "b.bundle", tiny.manifest(labels=("a", "b", "c", "d")), files())
    with pytest.raises(BundleError, match=r"manifest says the model has .*\(1, 4\).*\(1, 3\)"):
        Predictor.load(four)


def files() -> dict[str, bytes]:
    return {"model.tflite": tiny.model_content(), "LICENSES/tiny.txt": b""}


def test_a_misspelt_engine_is_answered_with_the_nearest(bundle):
    with pytest.raises(UnknownNameError, match="did you mean 'litert'"):
        Predictor.load(bundle, engine="litrt")


def test_an_unknown_task_is_named(tmp_path):
    task = tiny.Task("single_lable", tiny.LABELS)
    made = tiny.write_bundle(tmp_path / "a.bundle", tiny.manifest(task=task), files())
    with pytest.raises(UnknownNameError, match="did you mean 'single_label'"):
        Predictor.load(made)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_threads_that_make_no_sense_are_refused(bundle, threads):
    with pytest.raises(InputError, match="threads"):
        Predictor.load(bundle, threads=threads)


def test_arrays_need_no_pillow(bundle):
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "import numpy as np\nfrom edgetransfer.runtime import Predictor\n"
        f"print(Predictor.load({str(bundle.path)!r}).predict(np.full((50, 40, 3), (255, 0, 0), np.uint8)).label)\n"
        "heavy = {'keras', 'tensorflow', 'click', 'onnx', 'onnxruntime', 'edgetransfer.data'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    assert done.stdout == "red\n"
