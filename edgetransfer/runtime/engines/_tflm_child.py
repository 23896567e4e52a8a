"""Run as a script: loads the model on standard input into TensorFlow Lite Micro, infers once, prints the arena used.

The interpreter reads models without checking them and crashes on some; it says why it refuses one, and what memory it
took, only on the process's standard error. In a process of its own the first does no harm and the second can be read.
The argument is the import path as JSON.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

WIDEST_BYTES = 8  # of one element, whatever the tensor's type
ALIGNMENT = 16  # of the arena's end: what is lost to another one counts as used
SPARE_BYTES = 1 << 24  # for nodes, tensors and scales; memory that is not touched costs nothing
MOST_BYTES = 1 << 31


def main() -> None:
    """Load, infer on zeros, print; what goes wrong ends the process with the reason as its last line."""
    sys.path[:] = json.loads(sys.argv[1])
    import numpy as np
    from tflite_micro import runtime

    model = sys.stdin.buffer.read()
    parsed = runtime.convert_bytearray_to_object(model)
    try:
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=_enough(parsed))
    except RuntimeError as refused:
        custom = sorted(code.customCode.decode(errors="replace") for code in parsed.operatorCodes if code.customCode)
        raise RuntimeError(f"{refused}; custom ops: {', '.join(custom)}" if custom else str(refused)) from refused
    tensor = interpreter.get_input_details(0)
    interpreter.set_input(np.zeros(tensor["shape"], tensor["dtype"]), 0)
    interpreter.invoke()
    interpreter.get_output(0)
    interpreter.print_allocations()


def _enough(model: Any) -> int:
    """Return a size of arena in which all tensors have room side by side."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    elements = sum(math.prod(max(1, int(size)) for size in _shape(tensor)) for tensor in tensors)
    needed = -(-elements * WIDEST_BYTES // ALIGNMENT) * ALIGNMENT + SPARE_BYTES
    if needed > MOST_BYTES:
        raise ValueError(f"its tensors have {elements} elements, more than any microcontroller holds")
    return needed


def _shape(tensor: Any) -> Any:
    return () if tensor.shape is None else tensor.shape


if __name__ == "__main__":
    try:
        main()
    except Exception as trouble:  # whatever the bytes of a broken model lead to
        sys.exit(f"{type(trouble).__name__}: {trouble}")
