"""The model card: what it is meant for, whose weights it has, its limits, how it was evaluated, what is unknown."""

from __future__ import annotations

from collections.abc import Sequence

from edgetransfer.models.backbones import NOT_STATED
from edgetransfer.pipeline.page_facts import percent
from edgetransfer.pipeline.page_figures import Figures
from edgetransfer.pipeline.page_gaps import gaps
from edgetransfer.pipeline.page_html import Content, Html, bullets, element, link, section, table


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
    where = f"made for {manifest.device}" if manifest.device else "made for no particular device"
    return [
        f"To say which one of its {len(manifest.task.labels)} labels a single photo shows, on a small device; {where}.",
        "For photos like those that it learned from: the same kind of camera, light, distance and things.",
        "Nothing here shows that it is fit for decisions about people, or where a wrong answer can do harm.",
    ]


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
    labels = figures.bundle.manifest.task.labels
    found = [
        f"It always gives one of its {len(labels)} labels, also for a photo that shows none of them or several.",
        "A score says how sure the model is, not how often it is right; see the calibration.",
    ]
    evaluation = figures.evaluation
    if evaluation is None:
        return found
    classes = [one for one in evaluation.report.classes if one.support]
    weakest = min(classes, key=lambda one: one.recall)
    if weakest.recall < 1:
        photos = f"{round(weakest.recall * weakest.support)} of {weakest.support} photos"
        found.append(f"It misses {weakest.label!r} most: {photos} are recognised ({percent(weakest.recall)}).")
    if few := [one.label for one in evaluation.report.classes if one.support < 10]:
        names = ", ".join(map(repr, few[:10])) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
        found.append(f"Fewer than 10 photos were there to judge {names} by.")
    return found


def _evaluated(figures: Figures) -> list[str]:
    manifest, evaluation = figures.bundle.manifest, figures.evaluation
    recorded = [f"{percent(one.accuracy)} of {one.samples} {name} photos" for name, one in manifest.metrics.items()]
    found = [f"At the build, as it is shipped: {', '.join(sorted(recorded))}."] if recorded else []
    if evaluation is not None:
        report = evaluation.report
        data = "the data that it was built with" if evaluation.same_data else "other data than it was built with"
        found += [
            f"For this page: {report.samples} photos of the {report.split} split of {data}, as files, through all that "
            f"a device does, with {evaluation.engine}.",
            "Intervals of accuracy are 95 % Wilson score intervals; they tell of chance in drawing the photos only.",
        ]
        if report.split != "test":
            found.append(f"The {report.split} split is not for judging: the model was trained, or chosen, on it.")
    if any(not one.source for one in figures.profiles):
        found.append("Latency was measured on the machine that made this page.")
    return found or ["Not at all, as far as the bundle knows."]


def _unknown(figures: Figures) -> list[str]:
    manifest = figures.bundle.manifest
    found = [gap.what[0].upper() + gap.what[1:] + "." for gap in gaps(figures)]
    found += [
        "How it does on photos from other cameras and places, or after what it looks at has changed.",
        f"What it took over from the photos that its backbone was pretrained on ({manifest.backbone.pretrained_on}).",
        "How much energy it takes.",
    ]
    if any(one.licence == NOT_STATED for one in manifest.licences) or manifest.backbone.licence == NOT_STATED:
        found.append("Under which licence the weights may be used: it is not stated.")
    return found
