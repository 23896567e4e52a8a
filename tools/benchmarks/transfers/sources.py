"""One network as PyTorch, ONNX and TFLite into Keras: how far its outputs are from those of each one's own runtime."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import load_dataset
from edgetransfer.features.extract import View, model_input
from edgetransfer.models import backbones, weights
from edgetransfer.models.backbones import efficientnet_lite0
from edgetransfer.pipeline.transfer_weights import TransferOptions, transfer_weights
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.spec.text_table import aligned
from transfers.rows import Says

_IMAGES = 100
_TARGET = "efficientnet_lite0"
_TORCH = """
import sys
import numpy as np, torch
from efficientnet_lite_pytorch import EfficientNet

path, pixels, outputs, graph = sys.argv[1:]
model = EfficientNet.from_name("efficientnet-lite0")
model.load_state_dict(torch.load(path, weights_only=True))
model.eval()
x = torch.from_numpy(np.load(pixels)).permute(0, 3, 1, 2).contiguous()

class Features(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.extract_features(x).mean(dim=(2, 3))

network = Features().eval()
with torch.no_grad():
    np.save(outputs, np.concatenate([network(x[i : i + 10]).numpy() for i in range(0, len(x), 10)]))
    torch.onnx.export(network, (x[:1],), graph, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--torch",
        type=Path,
        metavar="PYTHON",
        help="a Python with torch, onnx and efficientnet-lite-pytorch: it computes what PyTorch says, and writes "
        "the ONNX file. Without it PyTorch's row is left out, and the ONNX file is Keras' own export",
    )


@dataclass(frozen=True)
class Difference:
    """One source: its runtime, how much was mapped, and how far the outputs are apart."""

    source: str
    runtime: str
    coverage: float
    largest: float
    relative: float


@dataclass(frozen=True)
class Differences:
    """All sources."""

    rows: tuple[Difference, ...]
    images: int

    def as_text(self) -> str:
        """Return the table."""
        table = [["source", "its own runtime", "parameters mapped", "largest difference", "relative to the largest"]]
        for row in self.rows:
            cells = [row.source, row.runtime, f"{row.coverage:.1%}", f"{row.largest:.3g}", f"{row.relative:.2g}"]
            table.append(cells)
        return "\n".join([f"{_TARGET} into Keras, features of {self.images} photos", *aligned(table)])

    def to_json(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {"images": self.images, "rows": [vars(row) for row in self.rows]}


def run(asked: argparse.Namespace, folder: Path) -> Differences:
    pixels = _pixels(asked.data)
    published = weights.locate(_TARGET, efficientnet_lite0.WEIGHTS[0])
    rows, graph = [], folder / "network.onnx"
    if asked.torch is not None:
        np.save(folder / "pixels.npy", pixels)
        files = [folder / "pixels.npy", folder / "outputs.npy", graph]
        subprocess.run([str(asked.torch), "-c", _TORCH, str(published), *map(str, files)], check=True)
        rows.append(_row("PyTorch .pth", "PyTorch", published, np.load(files[1]), pixels, folder))
    else:
        _own_onnx(graph)
    rows.append(_row("ONNX", "ONNX Runtime", graph, _onnx(graph, pixels), pixels, folder))
    lite = folder / "network.tflite"
    lite.write_bytes(_tflite())
    rows.append(_row("TFLite", "LiteRT", lite, _litert(lite, pixels), pixels, folder))
    return Differences(tuple(rows), len(pixels))


def _row(
    name: str, runtime: str, source: Path, wanted: NDArray[np.float32], pixels: NDArray[np.float32], folder: Path
) -> Difference:
    """Map `source` into Keras and compare."""
    output = folder / f"{source.stem}_{runtime.split()[0]}.keras"
    report = transfer_weights(TransferOptions(str(source), _TARGET), output, force=True, watcher=Says())
    model = backbones.load(BackboneChoice(f"keras:{output}")).model
    found = _batched(lambda some: np.asarray(model(some, training=False)), pixels)
    far = float(np.abs(found - wanted).max())
    return Difference(name, runtime, report.mapping.coverage, far, far / float(np.abs(wanted).max()))


def _pixels(data: Path) -> NDArray[np.float32]:
    """Return 100 photos, test split first, as the network takes them: (n, 224, 224, 3)."""
    samples = sorted(
        load_dataset(data, kind="image", seed=0).samples, key=lambda one: (one.split != "test", one.sha256)
    )
    spec, normalisation = ImageInput(224, 224, "squash"), efficientnet_lite0.SPEC.normalisation
    return normalisation.to_real(np.stack([model_input(View(one), spec) for one in samples[:_IMAGES]]))


def _batched(compute: Callable[[Any], NDArray[Any]], pixels: NDArray[np.float32], size: int = 10) -> NDArray[Any]:
    return np.concatenate([compute(pixels[at : at + size]) for at in range(0, len(pixels), size)])


def _onnx(path: Path, pixels: NDArray[np.float32]) -> NDArray[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    planes = _is_planes(given.shape)
    return _batched(
        lambda some: session.run(None, {given.name: some.transpose(0, 3, 1, 2) if planes else some})[0], pixels
    )


def _is_planes(shape: Sequence[Any]) -> bool:
    """Say whether channels stand before height and width."""
    return shape[1] == 3


def _own_onnx(path: Path) -> None:
    """Write the network as Keras itself exports it."""
    backbones.load(BackboneChoice(_TARGET)).model.export(path, format="onnx", verbose=False)


def _tflite() -> bytes:
    """Return the network as TensorFlow's own converter writes it, batch norms folded."""
    import tensorflow as tf

    model = backbones.load(BackboneChoice(_TARGET)).model
    content: bytes = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    return content


def _litert(path: Path, pixels: NDArray[np.float32]) -> NDArray[Any]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path))
    runner.allocate_tensors()
    (given,), (gives,) = runner.get_input_details(), runner.get_output_details()

    def one(some: NDArray[np.float32]) -> NDArray[Any]:
        runner.set_tensor(given["index"], some)
        runner.invoke()
        return runner.get_tensor(gives["index"]).copy()

    return _batched(one, pixels, 1)
