"""The folder of a transfer run: what was asked for, what came out, and what it takes to repeat or to go on from it.

* transfer.toml   all that decided, defaults included; `--config` takes it
* backbone.keras  what was made
* report.json     its figures
* run.json        versions, machine, seed, and the sha256 of data, sources and all files; written last

A folder with transfer.toml and no run.json is that of a run that was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import edgetransfer
from edgetransfer.errors import BundleError, IntegrityError, OutputError
from edgetransfer.models import backbones
from edgetransfer.models.backbone_file import read_facts
from edgetransfer.pipeline.backbone_output import check_output
from edgetransfer.pipeline.distill import TeacherChoice
from edgetransfer.pipeline.options import Watcher
from edgetransfer.pipeline.versions import versions
from edgetransfer.runtime.cores import available_cores
from edgetransfer.spec import json_shape
from edgetransfer.spec.atomic import write_atomically
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.transfer_file import read_transfer_file
from edgetransfer.spec.transfer_text import transfer_text

SETTINGS_FILE, BACKBONE_FILE, REPORT_FILE, RUN_FILE = "transfer.toml", "backbone.keras", "report.json", "run.json"
SCHEMA = 1
_FILES = (SETTINGS_FILE, BACKBONE_FILE, REPORT_FILE)  # those that run.json has the hashes of
_SHAPE: Any = {
    "transfer_run_schema": int,
    "step": str,
    "data": str,
    "other_data": {"*": str},
    "sources": {},  # whatever identifies them: for people and for comparing
    "weights_sha256": str,
    "files": dict.fromkeys(_FILES, str),
    "versions": {"*": str},
    "python": str,
    "platform": str,
    "cores": int,
    "seed": int,
}
_Report = TypeVar("_Report", bound=Any)  # a frozen dataclass with `output` and `to_json`


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command that makes a backbone writes it: to a file, to a run folder, or to both.

    With a folder the backbone is made in it, and copied to the file when all is done.

    Attributes:
        output: NAME.keras; None where there is a folder.
        run: The folder; None where there is a file.
        values: Of the command's options, by their names in the program; kept in the folder.
        force: Replace what is there.
    """

    output: Path | None
    run: Path | None
    values: Mapping[str, Any]
    force: bool = False

    def __post_init__(self) -> None:
        if self.output is None and self.run is None:
            raise OutputError("output: expected a file, a run folder or both, got neither")


@dataclass(frozen=True, slots=True)
class TransferRun:
    """A finished run.

    Attributes:
        folder: Its folder.
        sha256: Of its run.json, which has the hashes of all else.
        data: The fingerprint of its data.
        values: What its transfer.toml says, by the options' names in the program.
        versions: Of the packages that it was made with.
    """

    folder: Path
    sha256: str
    data: str
    values: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def backbone(self) -> str:
        """The name of its backbone, as options take it."""
        return f"{backbones.OWN}{self.folder / BACKBONE_FILE}"

    @property
    def other_versions(self) -> list[str]:
        """A sentence for each package that has another version here."""
        here = _versions()
        return [
            f"{name}: {here.get(name, 'none')} here, the run was made with {version}"
            for name, version in sorted(self.versions.items())
            if here.get(name) != version
        ]


def make_in(
    place: Place,
    step: str,
    sources: Mapping[str, Any],
    work: Callable[[Path, bool], _Report],
    watcher: Watcher,
) -> _Report:
    """Carry out `work` and keep its run, where a folder was asked for; return its report.

    A run that was interrupted goes on in the same folder when the same is asked for again.

    Args:
        place: Where.
        step: What `work` does: "finetune", "distill" or "fuse".
        sources: What it starts from, see `sources_of`.
        work: Gets the backbone's file and whether it may be replaced; `output` of its report is that file.
        watcher: Is told where the run is and what to type next.

    Raises:
        OutputError: the file exists; the folder holds a finished run, one of other options, or something else.
        EdgetransferError: what `work` raises.
    """
    if place.output is not None:
        check_output(place.output, force=place.force)
    if place.run is None:
        assert place.output is not None  # see __post_init__
        return work(place.output, place.force)
    text = transfer_text(place.values, place.run)
    _begin(place.run, text, force=place.force)
    made = place.run / BACKBONE_FILE
    report = work(made, True)  # what stands there is of this same run, which had not ended
    _end(place.run, step, sources, report, int(place.values.get("seed") or 0))
    if place.output is not None:
        _write(place.output, made.read_bytes())
        report = replace(report, output=place.output)
    watcher.note(f"the run is kept: edgetransfer build --from {place.run} --output NAME.bundle")
    return report


def sources_of(
    backbone: BackboneChoice, *, tuned: Sequence[Path] = (), teacher: TeacherChoice | None = None
) -> dict[str, Any]:
    """Return what identifies each model that a run starts from, by content: JSON values.

    Raises:
        EdgetransferError: one of them cannot be read.
    """
    found: dict[str, Any] = {"backbone": backbones.identity(backbone)}
    if tuned:
        found["tuned"] = [_sha256(path) for path in tuned]
    if teacher is not None and teacher.bundle is not None:
        found["teacher"] = {"bundle": Bundle.load(teacher.bundle).sha256, "head": teacher.head}
    elif teacher is not None and teacher.backbone is not None:
        found["teacher"] = backbones.identity(teacher.backbone)
    return found


def load_run(folder: Path) -> TransferRun:
    """Return the finished run in `folder`.

    Raises:
        BundleError: it is no such run, has not ended, or was made by a newer version.
        IntegrityError: a file is not the one that the run wrote.
    """
    where = folder / RUN_FILE
    if not where.is_file():
        if (folder / SETTINGS_FILE).is_file():
            raise BundleError(f"{folder}: has not ended; go on with the command that began it")
        raise BundleError(f"{folder}: expected a run folder of transfer finetune, distill or fuse with {RUN_FILE}")
    content = where.read_bytes()
    about = json_shape.parse(content, str(where))
    if not isinstance(about, dict) or "transfer_run_schema" not in about:
        raise BundleError(f"{folder}: is no run of a transfer; what train or build wrote is for 'edgetransfer export'")
    if about["transfer_run_schema"] != SCHEMA:
        raise BundleError(f"{where}: has schema {about['transfer_run_schema']}, this version reads {SCHEMA}")
    if problems := json_shape.problems({**about, "sources": {}}, _SHAPE, RUN_FILE):
        raise BundleError(f"{folder}: {'; '.join(problems)}")
    for name, expected in about["files"].items():
        found = _sha256(folder / name)
        if found != expected:
            raise IntegrityError(
                f"{folder / name}: has sha256 {found}, that of the run is {expected}; run the transfer again"
            )
    values = read_transfer_file(folder / SETTINGS_FILE)
    return TransferRun(folder, hashlib.sha256(content).hexdigest(), about["data"], values, about["versions"])


def _begin(folder: Path, text: str, *, force: bool) -> None:
    """Take the folder: new, empty, or of an interrupted run with the same settings; with `force` of any run."""
    named = f"run {str(folder)!r}"
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{named}: is a file; choose another name")
    settings = folder / SETTINGS_FILE
    if folder.is_dir() and any(folder.iterdir()) and not settings.is_file():
        raise OutputError(f"{named}: holds other files; choose another name")
    if settings.is_file():
        ended = (folder / RUN_FILE).is_file()
        if force:
            _clear(folder)
        elif ended:
            raise OutputError(f"{named}: is finished; choose another name or add --force to replace it")
        elif settings.read_text(encoding="utf-8") != text:
            raise OutputError(
                f"{named}: holds an interrupted run with other options, see {settings}; give those to go on, or add "
                "--force to begin anew"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as trouble:
        raise OutputError(f"{named}: cannot be made ({trouble.strerror})") from trouble
    try:
        content = text.encode()
    except UnicodeEncodeError as trouble:
        raise OutputError(f"{named}: a path of this run is no UTF-8, which TOML asks for; rename it") from trouble
    _write(settings, content)


def _clear(folder: Path) -> None:
    """Remove a run, run.json first, so that what is left if this is interrupted is no finished run."""
    stem = Path(BACKBONE_FILE).stem
    for path in (folder / RUN_FILE, folder / REPORT_FILE, *sorted(folder.glob(f"{stem}*.keras*"))):
        path.unlink(missing_ok=True)


def _end(folder: Path, step: str, sources: Mapping[str, Any], report: Any, seed: int) -> None:
    facts = read_facts(folder / BACKBONE_FILE)
    assert facts is not None  # every step writes them
    done = facts.history[-1]["about"]
    made = backbones.load(BackboneChoice(f"{backbones.OWN}{folder / BACKBONE_FILE}"))
    _write(folder / REPORT_FILE, _json(replace(report, output=Path(BACKBONE_FILE)).to_json()))
    about = {
        "transfer_run_schema": SCHEMA,
        "step": step,
        "data": done["data"],
        "other_data": {name: done[name] for name in ("replay", "unlabelled") if done.get(name)},
        "sources": sources,
        "weights_sha256": made.weights_sha256,  # by which bundles name their backbone
        "files": {name: _sha256(folder / name) for name in _FILES},
        "versions": _versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": available_cores(),
        "seed": seed,
    }
    _write(folder / RUN_FILE, _json(about))


def _versions() -> dict[str, str]:
    return {"edgetransfer": edgetransfer.__version__, **versions()}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as trouble:
        raise BundleError(f"{path}: cannot be read ({trouble.strerror})") from trouble


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as trouble:
        raise OutputError(f"output {str(path)!r}: cannot be written ({trouble.strerror})") from trouble
