"""Writes TFLite Metadata, so that other clients (MediaPipe Tasks, Android Studio) know the labels and pixels.

A `TFLITE_METADATA` buffer holds a flatbuffer of its own; labels.txt follows the model as a stored zip. The numbers
below are field positions in the schema (metadata_schema.fbs, identifier M001, of google-ai-edge/mediapipe); its
own writer is not to be had from pip in working order.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgetransfer.quantize.flatbuffer import Graph

LABELS = "labels.txt"
_TENSOR_AXIS_LABELS = 2  # AssociatedFileType
_FEATURE, _IMAGE = 1, 2  # ContentProperties
_NORMALISATION = 1  # ProcessUnitOptions
_COLOUR_SPACES = {1: 2, 3: 1, 4: 0}  # ColorSpaceType of so many channels: GRAYSCALE, RGB, UNKNOWN
_MIN_PARSER_VERSION = "1.0.0"


def add_metadata(model: bytes, *, name: str, labels: Sequence[str], licence: str, channels: int = 3) -> bytes:
    """Return `model` with TFLite Metadata: raw pixels in, one number a label out, and labels.txt appended.

    Of an input that is no image, log-mel or ids of tokens, it says that these are features, without telling of what.

    Args:
        model: A `.tflite` with (1, H, W, channels) uint8 pixels in, or another input, and (1, C) out.
        name: The model's name.
        labels: C labels in the order of the outputs.
        licence: Of the weights.
        channels: Of images: 1, 3 or 4.
    """
    graph = Graph.read(model)
    buffer = schema.BufferT()
    is_image = graph.dtype(graph.input) == "uint8" and graph.shape(graph.input)[3:] == (channels,)
    input_name = "image" if is_image else graph.name(graph.input)
    buffer.data = np.frombuffer(_model_metadata(name, licence, input_name, channels if is_image else None), np.uint8)
    graph.model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"TFLITE_METADATA", len(graph.model.buffers) - 1
    graph.model.metadata = [*(graph.model.metadata or []), entry]
    return graph.to_bytes() + _zipped_labels(labels)


def read_labels(model: bytes) -> list[str]:
    """Return the labels that `add_metadata` appended to `model`."""
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        return archive.read(LABELS).decode().splitlines()


def _zipped_labels(labels: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        info = zipfile.ZipInfo(LABELS, date_time=(1980, 1, 1, 0, 0, 0))  # no clock in a hashed file
        archive.writestr(info, "\n".join(labels) + "\n")
    return buffer.getvalue()


def _model_metadata(name: str, licence: str, input_name: str, channels: int | None) -> bytes:
    """Return the metadata; `channels` are None where it is no image."""
    builder = flatbuffers.Builder(1024)
    if channels is not None:
        taken = _tensor(builder, input_name, _IMAGE, _image_properties(builder, channels), [_raw_pixels(builder)], [])
    else:
        taken = _tensor(builder, input_name, _FEATURE, _table(builder, 0, {}), [], [])
    scores = _tensor(builder, "scores", _FEATURE, _table(builder, 0, {}), [], [_labels_file(builder)])
    subgraph = _table(
        builder,
        4,
        {2: _vector(builder, [taken]), 3: _vector(builder, [scores])},
    )
    root = _table(
        builder,
        8,
        {
            0: builder.CreateString(name),
            3: _vector(builder, [subgraph]),
            5: builder.CreateString(licence),
            7: builder.CreateString(_MIN_PARSER_VERSION),
        },
    )
    builder.Finish(root, file_identifier=b"M001")
    return bytes(builder.Output())


def _tensor(builder: Any, name: str, kind: int, properties: int, units: Sequence[int], files: Sequence[int]) -> int:
    content = _table(builder, 3, {1: properties}, {0: lambda: builder.PrependUint8Slot(0, kind, 0)})
    fields = {0: builder.CreateString(name), 3: content}
    if units:
        fields[4] = _vector(builder, units)
    if files:
        fields[6] = _vector(builder, files)
    return _table(builder, 7, fields)


def _image_properties(builder: Any, channels: int) -> int:
    return _table(builder, 1, {}, {0: lambda: builder.PrependInt8Slot(0, _COLOUR_SPACES[channels], 0)})


def _raw_pixels(builder: Any) -> int:
    """Return the process unit that says: (pixel - 0) / 1."""
    options = _table(builder, 2, {0: _floats(builder, [0.0]), 1: _floats(builder, [1.0])})
    return _table(builder, 2, {1: options}, {0: lambda: builder.PrependUint8Slot(0, _NORMALISATION, 0)})


def _labels_file(builder: Any) -> int:
    return _table(
        builder,
        3,
        {0: builder.CreateString(LABELS)},
        {2: lambda: builder.PrependInt8Slot(2, _TENSOR_AXIS_LABELS, 0)},
    )


def _table(
    builder: Any, fields: int, offsets: dict[int, int], scalars: dict[int, Callable[[], None]] | None = None
) -> int:
    builder.StartObject(fields)
    for field, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    for put in (scalars or {}).values():
        put()
    return int(builder.EndObject())


def _vector(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: Any, values: Sequence[float]) -> int:
    return int(builder.CreateNumpyVector(np.array(values, np.float32)))
