"""The model card: what it is meant for, whose weights it has, its limits, how it was evaluated, what is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgetransfer.models.backbones import NOT_STATED
from edgetransfer.pipeline.page.facts import percent
from edgetransfer.pipeline.page.figures import Figures
from edgetransfer.pipeline.page.gaps import gaps
from edgetransfer.pipeline.page.html import Content, Html, bullets, element, link, section, table
from edgetransfer.pipeline.page.measured import Evaluation, HeadFigures, TaskEvaluation
from edgetransfer.pipeline.page.words import Words, words
from edgetransfer.spec.task import Task


def card(figures: Figures) -> Html:
    """Return the model card; every sentence follows from what the bundle holds or from what was measured."""
    return section(
        "card",
        "Model card",
        [
            part
            for title, content in (
                ("Intended use", bullets(_use(figures))),
                ("Licence of the weights", _licences(figures)),
                ("Limits", bullets(_limits(figures))),
                ("How it was evaluated", bullets(_evaluated(figures))),
                ("What is unknown", bullets(_unknown(figures))),
            )
            for part in (element("h3", title), content)
        ],
    )


def _use(figures: Figures) -> list[str]:
    manifest = figures.bundle.manifest
    said = words(manifest)
    where = f"made for {manifest.device}" if manifest.device else "made for no particular device"
    return [
        *(_questions(figures) if manifest.is_split else [_question(manifest.task, said)]),
        f"To run on a small device; {where}.",
        f"For {said.many} like those that it learned from: the same {said.drawn_from}.",
        "Nothing here shows that it is fit for decisions about people, or where a wrong answer can do harm.",
    ]


def _questions(figures: Figures) -> list[str]:
    said = words(figures.bundle.manifest)
    if not figures.heads:
        return [f"To give features of single {said.many}, from which heads can be trained."]
    asked = [(one.head.name, _question(one.head.task, said)) for one in figures.heads]
    return [f"Head {name}: {question[0].lower()}{question[1:]}" for name, question in asked]


def _question(task: Task, said: Words) -> str:
    labels = len(task.labels)
    what = {
        "multi_label": f"which of its {labels} labels a single {said.one} {said.verb}",
        "ordinal": f"where on a scale of {labels} labels a single {said.one} stands",
        "regression": f"a quantity, {task.labels[0]}, from a single {said.one}" if labels else "",
    }.get(task.kind, f"which one of its {labels} labels a single {said.one} {said.verb}")
    return f"To say {what}."


def _licences(figures: Figures) -> Html:
    manifest = figures.bundle.manifest
    rows: list[Sequence[Content]] = [
        [one.component, one.licence, link(one.url, one.url), one.file or "-"] for one in manifest.licences
    ]
    if not rows:
        backbone = manifest.backbone
        address = link(backbone.licence_url, backbone.licence_url)
        rows = [[f"weights of {backbone.name}", backbone.licence or NOT_STATED, address, "-"]]
    head = ["what", "licence", "where it can be read", "its text in the bundle"]
    return table("Licences of what the model was made of", head, rows, texts=4)


def _limits(figures: Figures) -> list[str]:
    manifest = figures.bundle.manifest
    said = words(manifest)
    found = ["A score says how sure the model is, not how often it is right; see the calibration."]
    if not manifest.is_split:
        return [_always(manifest.task, said), *found, *_weakest(figures.evaluation, said, "It")]
    for one in figures.heads:
        who = f"Head {one.head.name}"
        found.append(_turned_away(one, said) if one.head.outliers else f"{who}: {_always(one.head.task, said)}")
        found += _weakest(one.evaluation, said, who)
    return found


def _always(task: Task, said: Words) -> str:
    if task.kind != "single_label":
        return f"It always answers, also a {said.one} that has nothing to do with what it was asked."
    return (
        f"It always gives one of its {len(task.labels)} labels, also for a {said.one} that {said.verb} none of them or "
        "several."
    )


def _turned_away(one: HeadFigures, said: Words) -> str:
    found = None if one.rejection is None else one.rejection.strangers
    if found is None:
        return f"Head {one.head.name} turns strange {said.many} away; how many of them it finds was not measured."
    missed = found.samples - found.rejected
    return (
        f"Head {one.head.name} turns strange {said.many} away, but gave a label to {missed} of the {found.samples} "
        "that it was tried on; others may be harder."
    )


def _weakest(evaluation: Evaluation | None, said: Words, who: str) -> list[str]:
    """Return which label is missed most, and which could hardly be judged."""
    if evaluation is None:
        return []
    found = []
    classes = [one for one in evaluation.report.classes if one.support]
    weakest = min(classes, key=lambda one: one.recall)
    if weakest.recall < 1:
        recognised = f"{round(weakest.recall * weakest.support)} of {weakest.support} {said.many}"
        found.append(f"{who} misses {weakest.label!r} most: {recognised} are recognised ({percent(weakest.recall)}).")
    if few := [one.label for one in evaluation.report.classes if one.support < 10]:
        names = ", ".join(map(repr, few[:10])) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
        found.append(f"Fewer than 10 {said.many} were there to judge {names} by.")
    return found


def _evaluated(figures: Figures) -> list[str]:
    manifest = figures.bundle.manifest
    said = words(manifest)
    rows: list[tuple[str, Mapping[str, Mapping[str, float]], Evaluation | TaskEvaluation | None]]
    if manifest.is_split:
        rows = [(f" (head {one.head.name})", one.recorded, one.measured) for one in figures.heads]
    else:
        rows = [("", {split: one._asdict() for split, one in manifest.metrics.items()}, figures.evaluation)]
    found = [line for who, recorded, evaluation in rows for line in _evaluated_by(who, recorded, evaluation, said)]
    if any(evaluation is not None for _, _, evaluation in rows):
        found.append(
            "Intervals of accuracy are 95 % Wilson score intervals; they tell of chance in drawing samples only."
        )
    if any(not one.source for one in figures.profiles):
        found.append("Latency was measured on the machine that made this page.")
    return found or ["Not at all, as far as the bundle knows."]


def _evaluated_by(
    who: str, recorded: Mapping[str, Mapping[str, float]], evaluation: Evaluation | TaskEvaluation | None, said: Words
) -> list[str]:
    known = [
        f"{percent(one['accuracy'])} of {one['samples']:.0f} {name} {said.many}"
        for name, one in recorded.items()
        if {"accuracy", "samples"} <= set(one)
    ]
    found = [f"At the build{who}, as it is shipped: {', '.join(sorted(known))}."] if known else []
    if evaluation is None:
        return found
    report = evaluation.report
    data = "the data that it was built with" if evaluation.same_data else "other data than it was built with"
    if evaluation.same_data is None:
        data = "data of which it is not known whether it learned from them"
    found.append(
        f"For this page{who}: {report.samples} {said.many} of the {report.split} split of {data}, through all that a "
        f"device does, with {evaluation.engine}."
    )
    if report.split != "test":
        found.append(f"The {report.split} split is not for judging: the model was trained, or chosen, on it.")
    return found


def _unknown(figures: Figures) -> list[str]:
    manifest, said = figures.bundle.manifest, words(figures.bundle.manifest)
    found = [gap.what[0].upper() + gap.what[1:] + "." for gap in gaps(figures)]
    found += [
        f"How it does on {said.many} of another {said.drawn_from}, or after what they are about has changed.",
        f"What it took over from what its backbone was pretrained on ({manifest.backbone.pretrained_on}).",
        "How much energy it takes.",
    ]
    if any(one.licence == NOT_STATED for one in manifest.licences) or manifest.backbone.licence == NOT_STATED:
        found.append("Under which licence the weights may be used: it is not stated.")
    return found
