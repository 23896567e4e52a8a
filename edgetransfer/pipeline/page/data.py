"""The part of a page about the data: how many photos, what was left out, which photos are there twice."""

from __future__ import annotations

from collections.abc import Sequence

from edgetransfer.data import DataReport
from edgetransfer.data.report import SPLITS
from edgetransfer.pipeline.page_figures import Evaluation, Figures
from edgetransfer.pipeline.page_gaps import shown_gaps
from edgetransfer.pipeline.page_html import Html, bullets, callout, element, folded, join, paragraph, section, table

MOST_LINES = 50  # of each list of findings; the --json of the command has all


def data(figures: Figures) -> Html:
    """Return what is known of the photos."""
    known = figures.bundle.manifest.data
    counts = ", ".join(f"{known.counts[split]} {split}" for split in SPLITS if split in known.counts)
    built = paragraph(f"Built with {counts or 'no'} photos. Fingerprint of photos, labels and splits: ",
                      element("code", known.fingerprint[:12]), ".")  # fmt: skip
    evaluation = figures.evaluation
    if evaluation is None:
        return section("data", "Data and their cleaning", built, shown_gaps(figures, "data"))
    return section(
        "data",
        "Data and their cleaning",
        built,
        _sameness(evaluation),
        _counts(evaluation.data),
        _findings(evaluation.data),
    )


def _sameness(evaluation: Evaluation) -> Html:
    if evaluation.same_data:
        return paragraph("The figures below are of these very photos, with the same splits.")
    if evaluation.data.splits_made:
        return callout(
            "Other data than the build's.",
            "The splits were made anew and are not those of the build: photos that the model learned from may be among "
            "those it is measured on, and make it look better than it is. Give the build's photos and its --seed.",
        )
    return callout(
        "Other data than the build's.",
        "The figures below are of photos that were not at the build, or of other splits of them.",
    )


def _counts(report: DataReport) -> Html:
    made = f"{', '.join(report.splits_made)} made by edgetransfer" if report.splits_made else "as given"
    rows = [[label, *(str(report.counts[split].get(label, 0)) for split in SPLITS)] for label in report.labels]
    rows.append(["all", *(str(sum(report.counts[split].values())) for split in SPLITS)])
    shown = table(f"Photos that are used, by label and split (splits {made})", ["label", *SPLITS], rows)
    return shown if len(rows) <= 30 else folded(f"Photos by label and split: {len(rows) - 1} labels", shown)


def _findings(report: DataReport) -> Html:
    copies = [one for one in report.copies if one not in report.conflicts]
    lists = (
        ("Left out", [f"{one.path}: {one.reason}" for one in report.left_out]),
        ("Ignored, no photos", [f"{one.path}: {one.reason}" for one in report.ignored]),
        (
            "The same photo under different labels",
            [f"{' = '.join(one.paths)} ({', '.join(one.labels)}): {one.action}" for one in report.conflicts],
        ),
        ("Copies", [f"{' = '.join(one.paths)} ({one.kind}): {one.action}" for one in copies]),
        (
            "Photos that are in two splits, so that results look better than they are",
            [
                f"{leak.path} ({leak.split}) = {leak.other_path} ({leak.other_split}), {leak.kind}"
                + (", dropped from training" if leak.dropped else "")
                for leak in report.leaks
            ],
        ),
    )
    found = [_folded_list(title, items) for title, items in lists if items]
    notes = [paragraph(note) for note in report.notes]
    if not found:
        return join(paragraph("Nothing was left out: every photo could be read, and none is there twice."), notes)
    return join(element("h3", "Cleaning"), found, notes)


def _folded_list(title: str, items: Sequence[str]) -> Html:
    more = [f"and {len(items) - MOST_LINES} more"] if len(items) > MOST_LINES else []
    return folded(f"{title}: {len(items)}", bullets([*items[:MOST_LINES], *more]))
