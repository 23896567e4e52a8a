"""The part of a page about the data: how many, what was left out, what is there twice."""

from __future__ import annotations

from collections.abc import Sequence

from edgetransfer.data import DataReport
from edgetransfer.data.report import SPLITS
from edgetransfer.pipeline.page.figures import Figures
from edgetransfer.pipeline.page.gaps import shown_gaps
from edgetransfer.pipeline.page.html import Html, bullets, callout, element, folded, join, paragraph, section, table
from edgetransfer.pipeline.page.measured import Evaluation, TaskEvaluation
from edgetransfer.pipeline.page.words import words, words_of

MOST_LINES = 50  # of each list of findings; the --json of the command has all


def data(figures: Figures) -> Html:
    """Return what is known of the data; what was given for heads outside of the graph is told of with each head."""
    known, many = figures.bundle.manifest.data, words(figures.bundle.manifest).many
    counts = ", ".join(f"{known.counts[split]} {split}" for split in SPLITS if split in known.counts)
    prints = [element("code", fingerprint[:12]) for fingerprint in known.fingerprint.split("+")]
    built = paragraph(
        f"Built with {counts or 'no'} {many}{', counted for each head' if len(prints) > 1 else ''}. Fingerprint of "
        f"{many}, labels and splits: ",
        [join(", " if number else "", one) for number, one in enumerate(prints)],
        ".",
    )
    evaluation = figures.evaluation
    parts = shown_gaps(figures, "data") if evaluation is None else data_parts(evaluation)
    return section("data", "Data and their cleaning", built, parts)


def data_parts(evaluation: Evaluation | TaskEvaluation) -> list[Html]:
    """Return what was found in the data that were given."""
    return [_sameness(evaluation), _counts(evaluation.data), _findings(evaluation.data)]


def _sameness(evaluation: Evaluation | TaskEvaluation) -> Html:
    many = words_of(evaluation.data.kind).many
    if evaluation.same_data is None:
        return callout(
            "Perhaps other data than the head's.",
            f"A head that was added does not keep what it learned from. Where splits are made anew, {many} that it "
            "learned from may be among those it is measured on: give the data and the --seed that it was trained with.",
        )
    if evaluation.same_data:
        return paragraph(f"The figures below are of these very {many}, with the same splits.")
    if evaluation.data.splits_made:
        return callout(
            "Other data than the build's.",
            f"The splits were made anew and are not those of the build: {many} that the model learned from may be "
            "among those it is measured on, and make it look better than it is. Give the build's "
            f"{many} and its --seed.",
        )
    return callout(
        "Other data than the build's.",
        f"The figures below are of {many} that were not at the build, or of other splits of them.",
    )


def _counts(report: DataReport) -> Html:
    many = words_of(report.kind).many.capitalize()
    made = f"{', '.join(report.splits_made)} made by edgetransfer" if report.splits_made else "as given"
    if report.task == "regression":
        what, rows = "value", _spreads(report)
    else:
        what = "label"
        rows = [[label, *(str(report.counts[split].get(label, 0)) for split in SPLITS)] for label in report.labels]
    rows.append(["all", *(str(report.samples.get(split, 0)) for split in SPLITS)])
    shown = table(f"{many} that are used, by {what} and split (splits {made})", [what, *SPLITS], rows)
    return shown if len(rows) <= 30 else folded(f"{many} by {what} and split: {len(rows) - 1} labels", shown)


def _spreads(report: DataReport) -> list[list[str]]:
    found = [report.values.get(split) for split in SPLITS]
    return [
        [name, *("-" if one is None else f"{one[place]:g}" for one in found)]
        for place, name in enumerate(("least", "median", "greatest"))
    ]


def _findings(report: DataReport) -> Html:
    one, many = words_of(report.kind).one, words_of(report.kind).many
    copies = [same for same in report.copies if same not in report.conflicts]
    lists = (
        ("Left out", [f"{found.path}: {found.reason}" for found in report.left_out]),
        (f"Ignored, no {many}", [f"{found.path}: {found.reason}" for found in report.ignored]),
        (
            f"The same {one} under different labels",
            [f"{' = '.join(same.paths)} ({', '.join(same.labels)}): {same.action}" for same in report.conflicts],
        ),
        ("Copies", [f"{' = '.join(same.paths)} ({same.kind}): {same.action}" for same in copies]),
        (
            f"{many.capitalize()} that are in two splits, so that results look better than they are",
            [
                f"{leak.path} ({leak.split}) = {leak.other_path} ({leak.other_split}), {leak.kind}"
                + (", dropped from training" if leak.dropped else "")
                for leak in report.leaks
            ],
        ),
    )
    lines = [_folded_list(title, items) for title, items in lists if items]
    notes = [paragraph(note) for note in report.notes]
    if not lines:
        return join(paragraph(f"Nothing was left out: every {one} could be read, and none is there twice."), notes)
    return join(element("h3", "Cleaning"), lines, notes)


def _folded_list(title: str, items: Sequence[str]) -> Html:
    more = [f"and {len(items) - MOST_LINES} more"] if len(items) > MOST_LINES else []
    return folded(f"{title}: {len(items)}", bullets([*items[:MOST_LINES], *more]))
