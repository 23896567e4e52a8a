"""Distils a teacher into a backbone of the user's choice and writes it as a file that `build` takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgetransfer.data import DataReport, Dataset, Sample
from edgetransfer.data.unlabelled import Unlabelled, read_unlabelled
from edgetransfer.errors import BackboneError, RecipeError
from edgetransfer.evaluate import evaluate
from edgetransfer.features.extract import View, extract
from edgetransfer.models import backbones
from edgetransfer.models.backbone_file import write_backbone
from edgetransfer.pipeline.backbone_output import check_output, facts_of, tuned_options
from edgetransfer.pipeline.deployed import DeployedBackbone, check_images, deployed_backbone
from edgetransfer.pipeline.finetune import checkpoint_of, scalars_of, tune_on
from edgetransfer.pipeline.finetune_report import epoch_json, kept_text, report_row, reports_json
from edgetransfer.pipeline.options import BuildOptions, Silent, Watcher
from edgetransfer.pipeline.student import Student, check_quantization_aware, student_of
from edgetransfer.pipeline.train import labels_of, read_data, resolve_plan
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.task import Task
from edgetransfer.spec.text_table import aligned
from edgetransfer.transfer.distill_lesson import DistillLesson, DistillOptions
from edgetransfer.transfer.precision import settled
from edgetransfer.transfer.teacher import Teacher, TeacherOutputs, teacher_of_bundle
from edgetransfer.transfer.tuning import Tuned, TuneOptions, make_deterministic

VIEWS = 4
"""Augmented views of each image, unless asked otherwise: the teacher computes each of them once."""
_FLOATS = "float32"


@dataclass(frozen=True, slots=True)
class TeacherChoice:
    """Who teaches: a backbone, which gets a head of its own on the user's data, or a bundle.

    Attributes:
        backbone: A registered one, or "keras:PATH"; computed in floats.
        bundle: A bundle that knows the data's labels; computed as it is.
        head: Which head of the bundle, where it has several.
    """

    backbone: BackboneChoice | None = None
    bundle: Path | None = None
    head: str | None = None

    def __post_init__(self) -> None:
        if (self.backbone is None) == (self.bundle is None):
            raise RecipeError("teacher: expected either a backbone or a bundle")

    @property
    def name(self) -> str:
        """What the report calls it."""
        return str(self.bundle) if self.backbone is None else self.backbone.name


@dataclass(frozen=True, slots=True)
class DistillReport:
    """What distilling brought.

    Attributes:
        output: The backbone file.
        rows: What was measured, in order: teacher, student before, after in floats, after as deployed; each split to
            how right it was.
    """

    output: Path
    teacher: str
    student: str
    recipe: str
    data: DataReport
    unlabelled: int
    how: DistillOptions
    rows: Mapping[str, Mapping[str, EvalReport]]
    tuned: Tuned

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "backbone": str(self.output),
            "teacher": self.teacher,
            "student": self.student,
            "recipe": self.recipe,
            "data": self.data.to_json(),
            "unlabelled": self.unlabelled,
            **asdict(self.how),
            "figures": {name: reports_json(reports) for name, reports in self.rows.items()},
            "best_epoch": self.tuned.best.number,
            "epochs": [epoch_json(epoch) for epoch in self.tuned.epochs],
        }

    def as_text(self) -> str:
        """Return the report for people: one table, and what to type next."""
        heading = ["each with a head of its own", "validation", "test", "95 % interval of test"]
        lines = [
            self.data.as_text(),
            *([f"and {self.unlabelled} images without labels"] if self.unlabelled else []),
            "",
            *aligned([heading, *(report_row(name, reports) for name, reports in self.rows.items())]),
            kept_text(self.tuned),
            "",
            f"next:  edgetransfer build DATA --backbone keras:{self.output} --output NAME.bundle",
        ]
        return "\n".join(lines)


def distill(
    options: BuildOptions,
    teacher: TeacherChoice,
    tuning: TuneOptions,
    how: DistillOptions,
    output: Path,
    *,
    unlabelled: Path | None = None,
    quantization_aware: bool = False,
    force: bool = False,
    watcher: Watcher | None = None,
) -> DistillReport:
    """Let the backbone of `options` learn from a teacher, and write it to the file `output`.

    A run that was interrupted goes on from its last epoch when the same is asked for again.

    Args:
        options: Data, the student's backbone, and for what device and recipe.
        teacher: Who teaches.
        tuning: How the student is tuned; `views` is how many of each image the teacher is asked about.
        how: What its loss is made of.
        output: NAME.keras.
        unlabelled: A folder of images that take part with the teacher's answers alone.
        quantization_aware: Let the student compute in training as the integer graph will.
        force: Replace what is there.
        watcher: Is told the stages.

    Raises:
        EdgetransferError: bad data, a teacher that does not know the labels, an output that exists.
    """
    watcher = watcher or Silent()
    check_output(output, force=force)
    for choice in (options.backbone, teacher.backbone):
        check_images(options if choice is None else replace(options, backbone=choice))
    tuning = replace(tuning, precision=settled(tuning.precision, aware=quantization_aware))
    if quantization_aware:
        check_quantization_aware(options, tuning)
    watcher.stage("reading the data")
    dataset = read_data(options, options.data, watcher)
    check_images(options, dataset)
    more = _unlabelled(unlabelled, dataset, options, watcher)
    make_deterministic(tuning.seed)
    before = deployed_backbone(options, dataset, "the student as it came", watcher)
    teaches = _teacher(teacher, options, dataset, before.spec, watcher)
    plan = resolve_plan(options)
    rows: dict[str, Mapping[str, EvalReport]] = {f"teacher {teacher.name}": _reports(teaches, dataset, watcher)}
    loaded = backbones.load(options.backbone)
    rows[f"student {loaded.name} as it came, {plan.recipe.name}"] = before.reports
    student = student_of(loaded, dataset, before.spec, options, watcher, quantization_aware=quantization_aware)
    lesson = _lesson(student, before, teaches, (dataset, more), options, tuning, how, watcher)
    decides = [asdict(how), teaches.fingerprint, quantization_aware]
    tuned = tune_on(lesson, loaded, before, dataset, options, tuning, output, watcher, more=more, decides=decides)
    about = _about(dataset, teacher, more, tuning, how) | {"quantization_aware": quantization_aware}
    facts = facts_of(loaded, options.backbone).then("distill", **about)
    write_backbone(output, student.plain(), facts)
    rows |= _after(options, output, dataset, before.spec, plan.recipe.name, watcher)
    checkpoint_of(output).unlink(missing_ok=True)
    return DistillReport(
        output, teacher.name, loaded.name, plan.recipe.name, dataset.report, len(more), how, rows, tuned
    )


def _lesson(
    student: Student,
    before: DeployedBackbone,
    teacher: Teacher,
    images: tuple[Dataset, Sequence[Sample]],
    options: BuildOptions,
    tuning: TuneOptions,
    how: DistillOptions,
    watcher: Watcher,
) -> DistillLesson:
    """Return the lesson on `images`: those of the training split, and further ones without labels."""
    dataset, more = images
    samples = [*dataset.split("train"), *more]
    features = None
    if how.feature_weight:
        views, engine = [View(sample) for sample in samples], resolve_plan(options).engine
        features = extract(before.graph, views, before.spec, engine=engine, workers=options.workers).real
    return DistillLesson(
        student.backbone,
        before.head,
        labels_of(dataset.split("train"), dataset.labels),
        _asked(teacher, samples, tuning, watcher),
        how,
        features=features,
        label_smoothing=tuning.label_smoothing,
    )


def _after(
    options: BuildOptions, output: Path, dataset: Dataset, spec: ImageInput, recipe: str, watcher: Watcher
) -> dict[str, Mapping[str, EvalReport]]:
    """Return how right the student is now: in floats, and as it will be deployed."""
    chosen = tuned_options(options, output)
    rows: dict[str, Mapping[str, EvalReport]] = {}
    if recipe != _FLOATS:
        title = "the distilled student in floats"
        found = deployed_backbone(_in_floats(chosen), dataset, title, watcher, spec=spec)
        rows[f"student distilled, {_FLOATS}"] = found.reports
    found = deployed_backbone(chosen, dataset, "the distilled student", watcher, spec=spec)
    rows[f"student distilled, {recipe}"] = found.reports
    return rows


def _in_floats(options: BuildOptions) -> BuildOptions:
    return replace(options, recipe=_FLOATS, format="litert", device=None)


def _teacher(
    choice: TeacherChoice, options: BuildOptions, dataset: Dataset, spec: ImageInput, watcher: Watcher
) -> Teacher:
    """Return the teacher; a backbone is asked in floats, for it is not shipped, and gets a head on its own features.

    The head is trained on plain labels: smoothed ones wipe out what a teacher knows of the likeness of classes
    (Mueller et al. 2019, "When Does Label Smoothing Help?", arXiv 1906.02629).
    """
    if choice.backbone is None:
        assert choice.bundle is not None
        return teacher_of_bundle(choice.bundle, dataset.labels, head=choice.head, workers=options.workers)
    resolved = backbones.resolve(choice.backbone)
    own_channels = resolved.spec.channels
    if 4 in (own_channels, spec.channels) and own_channels != spec.channels:
        raise BackboneError(
            f"teacher {choice.name!r}: looks at {own_channels} channels, the student at {spec.channels}; images of "
            "four are read otherwise, so both must take them"
        )
    asked = _in_floats(replace(options, backbone=choice.backbone, label_smoothing=0.0))
    # Images meet its square as they meet the student's, so that both see the same part of them.
    own = ImageInput(resolved.height_px, resolved.width_px, spec.fit, channels=own_channels)
    found = deployed_backbone(asked, dataset, f"the teacher {choice.name}", watcher, spec=own)
    columns = tuple(range(len(dataset.labels)))
    return Teacher(choice.name, found.graph, own, "litert", found.head, columns, workers=options.workers)


def _asked(
    teacher: Teacher, samples: Sequence[Sample], tuning: TuneOptions, watcher: Watcher
) -> Callable[[int], TeacherOutputs]:
    def view(number: int) -> TeacherOutputs:
        return teacher.outputs(samples, view=number, seed=tuning.seed)

    watcher.stage(f"asking the teacher about {len(samples)} images, {tuning.views or 1} views each")
    for done in range(tuning.views):  # here, and not in the midst of an epoch, where nobody would know what takes time
        teacher.outputs(samples, view=done + 1, seed=tuning.seed)
        watcher.step(done + 1, tuning.views)
    return view


def _reports(teacher: Teacher, dataset: Dataset, watcher: Watcher) -> dict[str, EvalReport]:
    task = Task("single_label", dataset.labels)
    found: dict[str, EvalReport] = {}
    for split in ("val", "test"):
        samples = dataset.split(split)
        if samples:
            logits = teacher.outputs(samples, progress=watcher.step).logits
            scores: NDArray[Any] = get_decoder(task.kind).to_scores(logits, task)
            true = labels_of(samples, dataset.labels)
            found[split] = evaluate(scores, true, dataset.labels, split=split, artifact=teacher.name)
    return found


def _unlabelled(folder: Path | None, dataset: Dataset, options: BuildOptions, watcher: Watcher) -> tuple[Sample, ...]:
    if folder is None:
        return ()
    watcher.stage("reading the images without labels")
    known = {sample.sha256 for sample in dataset.samples}
    channels = backbones.channels_of(options.backbone)
    found: Unlabelled = read_unlabelled(
        folder, known=known, channels=channels, workers=options.workers, progress=watcher.step
    )
    if found.known or found.unreadable:
        watcher.note(
            f"{folder}: {len(found.samples)} images are used; {found.known} stand in the labelled data already, "
            f"{found.unreadable} cannot be read"
        )
    return found.samples


def _about(
    dataset: Dataset, teacher: TeacherChoice, more: Sequence[Sample], tuning: TuneOptions, how: DistillOptions
) -> dict[str, str | float | bool | None]:
    """Return what the backbone's file remembers of the distillation."""
    about: dict[str, str | float | bool | None] = {"data": dataset.fingerprint, "teacher": _told(teacher)}
    if more:
        about["unlabelled"] = hashlib.sha256("\n".join(sample.sha256 for sample in more).encode()).hexdigest()
    return about | scalars_of(tuning) | asdict(how)


def _told(teacher: TeacherChoice) -> str:
    """Return the teacher's name without a path of this machine."""
    name = teacher.name
    if teacher.backbone is not None and not name.startswith(backbones.OWN):
        return name
    return Path(name.removeprefix(backbones.OWN)).name
