"""Backbones of 1 and of 4 channels, from the reshaped file to bundles that answer, in both formats."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edgetransfer.errors import InputError
from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.runtime.engines import open_engine
from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES
from edgetransfer.verify import verify

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.cli.main import cli  # noqa: E402
from edgetransfer.export import get_exporter  # noqa: E402
from edgetransfer.export.onnx import with_dynamic_batch  # noqa: E402
from edgetransfer.models.backbone_file import BackboneFacts, write_backbone  # noqa: E402
from edgetransfer.pipeline.reshape import reshape  # noqa: E402
from edgetransfer.transfer.stem import with_channels  # noqa: E402

FACTS = BackboneFacts("small", Normalisation(1 / 127.5, 127), "Apache-2.0", "", "photographs")
CHANCE = 1 / 3  # three classes of photo patches, which colours tell apart better than anything in them


@pytest.fixture(scope="module")
def work(tmp_path_factory, small_keras):
    """A folder with small.keras in it, of RGB."""
    folder = tmp_path_factory.mktemp("cameras")
    write_backbone(folder / "small.keras", small_keras, FACTS)
    return folder


@pytest.fixture(scope="module")
def choice_of(work):
    """Return the backbone for so many channels."""

    def make(channels):
        path = work / f"{channels}.keras"
        if not path.exists():
            reshape(BackboneChoice(f"keras:{work / 'small.keras'}"), path, channels=channels)
        return BackboneChoice(f"keras:{path}")

    return make


@pytest.fixture(scope="module")
def four_bands(tmp_path_factory, folder):
    """The photos with a fourth channel, which is dark where they are bright; and one photo that has none."""
    made = tmp_path_factory.mktemp("four") / "photos"
    for path in sorted(folder.rglob("*.png")):
        pixels = np.asarray(Image.open(path))
        fourth = 255 - pixels.mean(axis=2, keepdims=True).astype(np.uint8)
        target = made / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate([pixels, fourth], axis=2)).save(target)
    Image.fromarray(pixels).save(target.with_name("of_three.png"))
    return made


@pytest.fixture(scope="module")
def built(work, choice_of, options_for, four_bands):
    """Return the report of a build by channels and format; each is made once, from the command's own function."""
    found = {}

    def make(channels, format):
        if (channels, format) not in found:
            changes = {"data": four_bands} if channels == 4 else {}
            options = options_for(
                backbone=choice_of(channels),
                format=format,
                recipe="static_int8",
                float_reference=False,
                fit="squash",
                hidden=0,
                epochs=8,
                **changes,
            )
            found[channels, format] = build(options, work / f"{format}{channels}.bundle", how=ExportOptions(force=True))
        return found[channels, format]

    return make


@pytest.fixture(scope="module")
def grey_file(folder):
    return next(iter(sorted(folder.rglob("*.png"))))


def call(*arguments, stdin=None):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin)


@pytest.mark.slow
@pytest.mark.parametrize(("format", "activations"), [("litert", "int8"), ("onnx", "uint8")])
def test_integers_cost_the_grey_network_what_they_cost_the_rgb_network_on_grey_pictures(
    format, activations, small_keras, pictures
):
    exporter, recipe = get_exporter(format), replace(RECIPES["static_int8"], activations=activations)
    grey = pictures[:, :, :, 1:2]
    errors = []
    for model, images in (
        (small_keras, np.repeat(grey, 3, axis=3)),
        (with_channels(small_keras, 1).model, grey),
    ):
        wanted = np.asarray(model(FACTS.normalisation.to_real(images), training=False))
        graph = exporter.convert(model)
        ranges = exporter.calibrate(graph, images, FACTS.normalisation)
        deployed = exporter.carry_out(graph, recipe, FACTS.normalisation, ranges, images)
        engine = open_engine(exporter.ENGINE, deployed, threads=1)
        got = np.concatenate([engine.output.to_real(engine.run(image[None])) for image in images])
        engine.close()
        errors.append(float(np.linalg.norm(got - wanted)))
    assert 0 < errors[1] < 1.1 * errors[0]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["litert", "onnx"])
def test_a_grey_bundle_is_built_verified_and_right(built, format):
    report = built(1, format)
    manifest = report.bundle.manifest
    assert report.verified.passed
    assert manifest.preprocess.shape == (32, 32, 1)
    assert manifest.model.input.shape == (1, 32, 32, 1)
    assert json.loads((report.bundle.path / "manifest.json").read_text())["preprocess"]["channels"] == 1
    assert {frame.shape[2] for frame in Bundle.load(report.bundle.path).golden().raw} == {1}
    assert report.exported["test"].accuracy > CHANCE
    assert "32 x 32 px, grey" in report.as_text()
    if format == "onnx":
        assert with_dynamic_batch(report.bundle.model_path.read_bytes())


@pytest.mark.slow
def test_a_colour_file_its_grey_twin_and_the_frame_itself_get_the_same_answer(built, grey_file):
    frame = read_image(grey_file, channels=1)
    content = io.BytesIO()
    Image.fromarray(frame[:, :, 0]).save(content, "PNG")
    with Predictor.load(built(1, "litert").bundle) as predictor:
        answers = [predictor.predict(one) for one in (grey_file, content.getvalue(), frame, frame[:, :, 0])]
        assert len({json.dumps(answer.to_json()) for answer in answers}) == 1
        with pytest.raises(InputError, match="luminance"):
            predictor.predict(read_image(grey_file))


@pytest.mark.slow
def test_the_command_line_knows_grey_bundles(built, grey_file, folder, tmp_path):
    bundles = [built(1, format).bundle.path for format in ("litert", "onnx")]
    frame = read_image(grey_file, channels=1)
    answer = json.loads(call("run", bundles[0], grey_file, "--json").stdout)["results"][0]
    size = f"{frame.shape[1]}x{frame.shape[0]}"
    streamed = call("run", bundles[0], "--frames", "-", "--size", size, "--json", stdin=frame.tobytes() * 2)
    lines = [json.loads(line) for line in streamed.stdout.splitlines()]
    assert [line["label"] for line in lines] == [answer["label"]] * 2
    assert call("verify", bundles[0]).exit_code == 0
    for number, format in enumerate(("litert", "onnx")):
        sides = [built(1, format).train.run, bundles[number], "--data", folder, "--split", "train"]
        compared = call("parity", *sides, "--grid", tmp_path / f"{format}.png", "--json")
        assert compared.exit_code == 0, compared.stdout + compared.stderr
        assert "0 bits differ" in compared.stdout
    page = call("report", bundles[0], "--data", folder, "--output", tmp_path / "page.html")
    assert page.exit_code == 0, page.stderr
    assert "32 x 32 px, grey" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_bundle_of_four_channels_is_built_from_photos_that_have_four(built, four_bands):
    report = built(4, "litert")
    assert report.verified.passed
    assert verify(report.bundle.path).passed
    assert report.bundle.manifest.model.input.shape == (1, 32, 32, 4)
    assert report.exported["test"].accuracy > CHANCE
    (left_out,) = report.train.data_report.left_out
    assert "of_three.png" in left_out.path
    assert "the fourth cannot be guessed" in left_out.reason
    with Predictor.load(report.bundle) as predictor:
        path = next(iter(sorted(four_bands.rglob("000.png"))))
        assert predictor.predict(path) == predictor.predict(read_image(path, channels=4))
        with pytest.raises(InputError, match="the fourth cannot be guessed"):
            predictor.predict(four_bands / "rocket" / "of_three.png")
