"""The direction of imports: the static and the dynamic net. The third, installed wheels, is tools/check_package.py."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgetransfer import registry

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "edgetransfer"
DEVICE_SIDE = (
    "spec",
    "registry",
    "errors",
    "runtime",
    "data",
    "verify",
    "evaluate",
    "evaluate_tasks",
    "profile",
    "estimate",
)
BUILD_ONLY = ("keras", "tensorflow", "onnx", "ai_edge_quantizer", "flatbuffers", "h5py", "click")
MOST_LINES = 400
MOST_FUNCTION_LINES = 60
LONG_FUNCTIONS: set[str] = set()
VAGUE = re.compile(r"(^|_)(utils?|helpers?|common|core|types?|misc|base|tools?|stuff)$")


def modules(*roots: str) -> list[str]:
    """Return the names of all modules, or of those below these names inside the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not roots or (len(parts) > 1 and parts[1] in roots):
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def fresh(code: str, *arguments: str) -> list[str]:
    """Run `code` in a new interpreter that finds the checkout, and return the JSON list it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


LOADED = "import json; print(); print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


# === The dynamic net ===


def test_every_device_side_module_can_be_imported_where_nothing_of_the_build_side_is():
    # TensorFlow Lite Micro's package for desks brings flatbuffers; on its devices there is no Python at all.
    names = [name for name in modules(*DEVICE_SIDE) if "tflm" not in name]
    assert {"edgetransfer.spec.bundle", "edgetransfer.runtime.engines.litert", "edgetransfer.verify"} <= set(names)
    code = f"""
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BUILD_ONLY!r}:
            raise ModuleNotFoundError(name + " is blocked", name=name)
sys.meta_path.insert(0, Blocked())
try:
    import keras
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the block does not work")
for name in sys.argv[1:]:
    importlib.import_module(name)
{LOADED}
"""
    loaded = fresh(code, *names)
    assert "numpy" in loaded
    assert not set(loaded) & set(BUILD_ONLY)


def test_the_device_side_reads_photos_only_when_it_is_asked_to():
    names = [name for name in modules(*DEVICE_SIDE) if ".engines." not in name]
    code = f"import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n{LOADED}"
    assert not set(fresh(code, *names)) & {"PIL", "ai_edge_litert", "tflite_runtime", "onnxruntime"}


def test_importing_edgetransfer_imports_nothing_of_a_third_party():
    code = """
import json, sys
before = set(sys.modules)
import edgetransfer
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""
    assert set(fresh(code)) - sys.stdlib_module_names == {"edgetransfer"}


@pytest.mark.parametrize(
    ("arguments", "kept_out"),
    [
        ("--help", ("numpy", "keras", "tensorflow", "PIL", "ai_edge_litert")),
        ("--version", ("numpy", "keras", "tensorflow", "PIL", "ai_edge_litert")),
        ("backbones --json", ("keras", "tensorflow", "PIL", "ai_edge_litert")),
        ("recipes --json", ("keras", "tensorflow", "PIL", "ai_edge_litert")),
        ("devices list --json", ("keras", "tensorflow", "PIL", "ai_edge_litert")),
        ("devices show raspberry_pi_4", ("keras", "tensorflow", "PIL", "ai_edge_litert")),
    ],
)
def test_looking_things_up_loads_no_keras(arguments, kept_out):
    code = f"""
import sys
from edgetransfer.cli.main import main
sys.argv = ["edgetransfer", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
{LOADED}
"""
    loaded = fresh(code, *arguments.split())
    assert "click" in loaded
    assert not set(loaded) & set(kept_out)


def test_every_task_that_can_be_trained_can_be_decoded_and_the_reverse():
    assert registry.names("edgetransfer.models.heads") == registry.names("edgetransfer.runtime.decoders")
    assert registry.names("edgetransfer.runtime.decoders")


# === The static net ===


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "500", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def copy(tmp_path):
    """A copy of the package and its contracts, to be broken."""
    pytest.importorskip("importlinter", reason="the contracts are checked with the extra 'dev'")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "edgetransfer", ignore=ignored)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


def test_the_contracts_are_kept(copy):
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("spec/task.py", "import edgetransfer.data", "What stands above may import what stands below"),
        ("verify.py", "import edgetransfer.evaluate", "What stands above may import what stands below"),
        ("models/trained.py", "import edgetransfer.train.fit", "What stands above may import what stands below"),
        ("runtime/image.py", "import keras", "The device side needs numpy and one engine"),
        ("data/scan.py", "import click", "The device side needs numpy and one engine"),
        ("runtime/predictor.py", "import ai_edge_litert", "On the device side only an engine's own file"),
        ("pipeline/build.py", "import click", "Only the command line knows click"),
        (
            "models/backbones/mobilenet_v2.py",
            "import edgetransfer.models.backbones.mobilenet_v3_small",
            "Backbones do not know each other",
        ),
        (
            "models/backbones/_mobilenet.py",
            "import edgetransfer.models.backbones.mobilenet_v3_small",
            "Backbones do not know each other",
        ),
        ("runtime/decoders/other.py", "import edgetransfer.runtime.decoders.single_label", "Decoders do not know"),
        ("runtime/engines/other.py", "import edgetransfer.runtime.engines.litert", "Engines do not know each other"),
        (
            "transfer/sources/torch.py",
            "import edgetransfer.transfer.sources.onnx",
            "Formats of source models do not know each other",
        ),
    ],
)
def test_a_forbidden_import_breaks_its_contract(file, line, contract, copy):
    path = copy / "edgetransfer" / file
    content = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{content}\n\ndef broken():\n    {line}\n", encoding="utf-8")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout
    assert any(found.startswith(contract) and "BROKEN" in found for found in done.stdout.splitlines()), done.stdout


def test_a_new_part_without_a_layer_is_refused(copy):
    (copy / "edgetransfer" / "stray.py").write_text('"""Stands nowhere."""\n')
    done = lint_imports(copy)
    assert done.returncode == 1
    assert "edgetransfer.stray" in done.stdout


# === What a reader may rely on ===


def test_every_module_says_what_it_is_for():
    without = []
    for name in modules():
        path = ROOT.joinpath(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))):
            without.append(name)
    assert without == []


def test_no_file_is_too_long_to_be_read():
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tools").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_function_is_too_long_to_be_read():
    found = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tools").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    found[f"{path.relative_to(ROOT).as_posix()}:{node.name}"] = lines
    assert set(found) == LONG_FUNCTIONS, found


def test_no_file_name_is_vague():
    names = [path for path in PACKAGE.rglob("*") if path.suffix == ".py" or path.is_dir()]
    assert [path for path in names if VAGUE.search(path.stem.lower())] == []
    assert VAGUE.search("image_utils")
    assert VAGUE.search("core")


def test_nothing_names_a_place_that_only_one_machine_has():
    places = re.compile(rb"/" + rb"work/|/" + rb"tmp/w\b|/" + rb"home/[a-z]+/|/" + rb"Users/[A-Za-z]+/")
    files = [ROOT / name for name in ("pyproject.toml", "setup.cfg", "MANIFEST.in", ".gitignore")]
    files += list(ROOT.glob("*.md"))
    for folder in ("edgetransfer", "tests", "tools", "devices", "examples", ".ci"):
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(files) > 100
    assert [str(path.relative_to(ROOT)) for path in files if places.search(path.read_bytes())] == []
