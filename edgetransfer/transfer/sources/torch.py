"""State dicts of PyTorch, `.pth` and `.pt`, read without PyTorch."""

from __future__ import annotations

from pathlib import Path

from edgetransfer.models.torch_file import list_tensors
from edgetransfer.transfer.source import SourceModel, SourceTensor
from edgetransfer.transfer.sources import Looks
from edgetransfer.transfer.sources._by_name import guess_all, split_name
from edgetransfer.transfer.sources._files import group, read_bytes, sha256_of

SUMMARY = "state dicts of PyTorch (.pth, .pt), zipped or from before 1.6"
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))  # the opcode PROTO; torch.save writes 2


def recognises(looks: Looks) -> bool:
    """Whether it is a pickle, or a zip archive with one."""
    return looks.start.startswith(_PICKLES) or any(name.rpartition("/")[2] == "data.pkl" for name in looks.members)


def read(path: Path) -> SourceModel:
    """Return the tensors of the state dict at `path`; roles and layouts are inferred from names and shapes.

    The whole file stays in memory as long as one of its parameters.

    Raises:
        WeightsError: see `models.torch_file.list_tensors`.
    """
    tensors = list_tensors(read_bytes(path), f"source {path}")
    guesses = guess_all({name: tensor.shape for name, tensor in tensors.items()}, "pytorch")
    parts = [
        SourceTensor(
            name,
            tensor.shape,
            tensor.dtype,
            guesses[name].role,
            guesses[name].layout,
            False,
            guesses[name].reason,
            tensor.read,
            guesses[name].multiplier,
        )
        for name, tensor in tensors.items()
    ]
    named = [(split_name(part.name)[0], part) for part in parts]
    return SourceModel(path.stem, "PyTorch", "torch", path, sha256_of(path), group(named))
