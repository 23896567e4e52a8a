"""Runs on the board: prints the names of the models, of a file of their contents, that tflite-runtime loads."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tflite_runtime.interpreter import Interpreter

taken = []
for name, content in json.loads(Path(sys.argv[1]).read_text(encoding="ascii")).items():
    try:
        Interpreter(model_content=bytes.fromhex(content))
    except ValueError:  # no kernel of this version, or no such op
        continue
    taken.append(name)
print(json.dumps(taken))
