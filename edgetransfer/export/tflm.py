"""TensorFlow Lite Micro: the int8 `.tflite` of LiteRT, shown to run on microcontrollers, and as C++ source.

The graph is made as for LiteRT; this file refuses what microcontrollers do not have. TensorFlow Lite Micro ignores
the versions of ops and finds out about types only while it runs, so every graph is really run in its interpreter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import EngineError, ExportError, RecipeError
from edgetransfer.export import litert
from edgetransfer.export._tflm_memory import predicted_arena_bytes
from edgetransfer.export._tflm_source import Facts, header, source
from edgetransfer.export.litert import calibrate, convert, costs, finish, head_alone, labels, step, survey
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.quantize.support import why_not
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.dense import Dense
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.tensor import Ranges

ENGINE = "tflm"
FLOAT_ENGINE = "litert"  # the interpreter for microcontrollers takes 20 ms where this takes one
MODEL_FILE = "model.tflite"
MOST_STEPS = 1
"""How far outputs may be from those of LiteRT's reference kernels, which are the same code. 0 was measured with
MobileNetV2 and V3 and MLPerf Tiny's two image models; more than one step of rounding means another computation."""
__all__ = [
    "ENGINE",
    "FLOAT_ENGINE",
    "MODEL_FILE",
    "MOST_STEPS",
    "Proof",
    "arena_bytes",
    "calibrate",
    "carry_out",
    "checked",
    "convert",
    "costs",
    "extra_files",
    "finish",
    "graft",
    "head_alone",
    "labels",
    "predicted_arena_bytes",
    "step",
    "survey",
]


class Proof(NamedTuple):
    """What running a model in TensorFlow Lite Micro showed.

    `steps` is how far its outputs are from those of LiteRT's reference kernels, at most; `arena_bytes` the memory that
    it takes for tensors and its own books, to the byte, on a 64-bit computer: 32-bit pointers need less.
    """

    steps: int
    arena_bytes: int


def carry_out(
    graph: bytes,
    recipe: Recipe,
    normalisation: Normalisation,
    ranges: Ranges | None = None,
    images: NDArray[np.uint8] | None = None,
) -> bytes:
    """Return the deployed graph, as LiteRT's; see `Exporter`.

    float32 is carried out too, as the yardstick that int8 is compared with; no plan ships it.

    Raises:
        RecipeError: the recipe is neither int8 throughout nor float32.
        ExportError: TensorFlow Lite Micro lacks one of its ops, or refuses the types of one.
        EngineError: tflite-micro is not installed.
    """
    yardstick = (recipe.weights, recipe.activations, recipe.overrides) == ("float32", "float32", ())
    reason = None if yardstick else why_not("tflm", recipe)
    if reason is not None:
        raise RecipeError(f"recipe {recipe.name!r} cannot be carried out for microcontrollers: {reason}")
    deployed = litert.carry_out(graph, recipe, normalisation, ranges, images)
    _open_micro(deployed).close()
    return deployed


def graft(deployed: bytes, head: Sequence[Dense], features: NDArray[np.float32], *, scores: bool = False) -> bytes:
    """Return `deployed` with `head` on top; see `Exporter`.

    Raises:
        RecipeError: `scores` were asked for: the softmax is floats, and the C++ side has the scale of the logits.
    """
    if scores:
        raise RecipeError("scores in the graph are floats, which the format 'tflm' leaves out; leave out the option")
    return litert.graft(deployed, head, features)


def checked(model: bytes, images: NDArray[np.uint8]) -> Proof:
    """Run `model` on prepared `images` (n, H, W, 3) uint8 beside LiteRT's reference kernels.

    Raises:
        ExportError: the model does not run in TensorFlow Lite Micro, or an output is more than MOST_STEPS away.
    """
    micro, plain = _open_micro(model), open_engine("litert", model, kernels="reference")
    steps = 0
    for number, image in enumerate(images):
        pair = (micro.run(image[None]), plain.run(image[None]))
        apart = int(np.abs(pair[0].astype(np.int64) - pair[1].astype(np.int64)).max())
        if apart > MOST_STEPS:
            raise ExportError(
                f"image {number}: TensorFlow Lite Micro is {apart} output steps from LiteRT's reference kernels, "
                f"expected at most {MOST_STEPS}; the microcontroller would answer otherwise than what was tested"
            )
        steps = max(steps, apart)
    for engine in (micro, plain):
        engine.close()
    return Proof(steps, int(micro.arena_bytes))


def arena_bytes(model: bytes) -> int:
    """Return the memory that `model` takes for tensors and the interpreter's own books; see `Proof`.

    Raises:
        ExportError: it does not run in TensorFlow Lite Micro.
    """
    micro = _open_micro(model)
    micro.close()
    return int(micro.arena_bytes)


def extra_files(model: bytes, name: str, *, temperature: float = 1.0) -> dict[str, bytes]:
    """Return "model.h" and "model.cc": the model as a C array, and what firmware needs to run it.

    Args:
        model: A finished model.
        name: The bundle's, which becomes the namespace.
        temperature: Divides the logits before the softmax; see `Task`.

    Raises:
        ExportError: it does not run in TensorFlow Lite Micro.
    """
    micro = _open_micro(model)
    micro.close()
    facts = Facts(
        name=name,
        labels=tuple(labels(model)),
        input_shape=micro.input.shape[1:],
        output=micro.output,
        temperature=temperature,
        arena_bytes=int(micro.arena_bytes),
        ops=tuple(sorted({op.name for op in Graph.read(model).ops()})),
        model_bytes=len(model),
    )
    return {"model.h": header(facts), "model.cc": source(facts, model)}


def _open_micro(model: bytes) -> Any:
    """Return the model in TensorFlow Lite Micro: an engine that knows its `arena_bytes` too."""
    try:
        return open_engine(ENGINE, model)
    except EngineError as refused:
        if isinstance(refused.__cause__, ImportError):  # not the model's fault, and it says what to install
            raise
        raise ExportError(f"TensorFlow Lite Micro cannot run it: {refused}") from refused
