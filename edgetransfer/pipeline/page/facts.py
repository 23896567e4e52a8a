"""The parts of a page that the manifest alone tells: head, what the model is, how to run it."""

from __future__ import annotations

from collections.abc import Mapping

from edgetransfer.pipeline.page.figures import FeatureAgreement, Figures
from edgetransfer.pipeline.page.gaps import bundle_word
from edgetransfer.pipeline.page.html import Content, Html, code, element, facts, join, paragraph, section
from edgetransfer.pipeline.page.words import described, in_an_app, words
from edgetransfer.spec.manifest import Manifest
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.task import Task
from edgetransfer.spec.tensor import TensorSpec

ENGINE_NAMES = {"litert": "LiteRT", "onnx": "ONNX Runtime", "tflm": "TensorFlow Lite Micro"}
MANY_LABELS = 24  # more are folded away
MOST_CARDS = 4  # of heads


def heading(figures: Figures) -> Html:
    """Return the page's head: the name, one sentence, and the figures that everybody asks for first."""
    manifest = figures.bundle.manifest
    made = f"{manifest.backbone.name}, {manifest.recipe.name}, for {_engine(manifest)}"
    if manifest.is_split:
        count = len(figures.heads)
        names = ", ".join(one.head.name for one in figures.heads)
        what = {0: "Gives features of", 1: f"Answers one question ({names}) about"}
        line = f"{what.get(count, f'Answers {count} questions ({names}) about')} {words(manifest).many}: {made}."
    else:
        line = f"Tells {len(manifest.task.labels)} labels apart in {words(manifest).many}: {made}."
    cards = [element("li", element("b", value), element("span", what)) for value, what in _first_figures(figures)]
    return element(
        "header",
        element("p", "edgetransfer report", class_="eyebrow"),
        element("h1", manifest.name),
        paragraph(line),
        element("ul", cards, class_="cards"),
    )


def about(figures: Figures) -> Html:
    """Return what the model is."""
    manifest = figures.bundle.manifest
    backbone = manifest.backbone
    pairs: list[tuple[str, Content]] = [
        *_answers(figures),
        (words(manifest).one.capitalize(), described(manifest.preprocess)),
        ("Backbone", f"{backbone.name}, alpha {backbone.alpha:g}, pretrained on {backbone.pretrained_on}"),
        ("Recipe", _recipe(manifest)),
        ("Format", f"{manifest.format}, for {_engine(manifest)}"),
        ("Input", _tensor(manifest.model.input)),
        ("Output", _output(manifest)),
        ("Built for", manifest.device or "any device"),
    ]
    if manifest.budget is not None:
        pairs.append(("Accuracy budget", _budget(manifest)))
    if manifest.allowed:
        pairs.append(("Exceptions", f"gates passed knowingly at the build: {', '.join(manifest.allowed)}"))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items()))
    pairs.append(("Made by", f"edgetransfer {manifest.edgetransfer}" + (f" with {versions}" if versions else "")))
    pairs.append(("Bundle", join("sha256 ", element("code", figures.bundle.sha256))))
    return section("about", "What it is", facts(pairs), _features(figures))


def usage(figures: Figures) -> Html:
    """Return how to run it: on the command line, and in an app."""
    manifest, bundle, one = figures.bundle.manifest, bundle_word(figures), words(figures.bundle.manifest)
    extra = f"{manifest.format},{manifest.preprocess.kind}"
    shell = f"pip install 'edgetransfer[{extra}]'\nedgetransfer verify {bundle}\nedgetransfer run {bundle} {one.file}"
    python = (
        "from edgetransfer.runtime import Predictor\n\n"
        f"predictor = Predictor.load({figures.bundle.path.name!r})  # once\n"
        f"result = predictor.predict({one.variable})  # {in_an_app(manifest.preprocess)}\n"
        f"{_printing(figures)}"
    )
    parts = [
        paragraph(
            "On the command line; ", element("code", "verify"), " says whether a machine computes what it should:"
        ),
        code(shell, "console"),
        paragraph("In an app, with numpy and one engine, without Keras or TensorFlow:"),
        code(python, "python"),
    ]
    if manifest.format == "tflm":
        parts.append(
            paragraph(
                "On a microcontroller: compile the bundle's ",
                element("code", "model.cc"),
                " and ",
                element("code", "model.h"),
                " into the firmware.",
            )
        )
    return section("usage", "How to run it", parts)


def task_text(task: Task, one: str) -> str:
    """Return what is asked, and the temperature of the scores; `one` is what a sample is called."""
    kind = task.kind.replace("_", " ")
    temperature = "" if task.temperature == 1 else f", temperature {task.temperature:.3g}"
    what = {
        "single_label": f"one of {len(task.labels)} labels for each {one}",
        "multi_label": f"any of {len(task.labels)} labels for each {one}",
        "ordinal": f"one of {len(task.labels)} labels in an order for each {one}",
        "regression": f"a quantity{f' in {task.unit}' if task.unit else ''} for each {one}",
    }.get(task.kind, f"{len(task.labels)} labels for each {one}")
    return f"{kind}: {what}{temperature}"


def labels_list(labels: tuple[str, ...]) -> Html:
    """Return the labels; many of them folded away."""
    items = element("ul", [element("li", label) for label in labels], class_="labels")
    if len(labels) <= MANY_LABELS:
        return items
    return element("details", element("summary", f"all {len(labels)}"), items)


def percent(share: float) -> str:
    """Return a share as people read it."""
    return f"{share:.1%}"


def megabytes(size_bytes: int) -> str:
    """Return a size in units that keep it readable."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def milliseconds(time_ms: float) -> str:
    """Return a time with three digits that count."""
    return f"{time_ms:.0f} ms" if time_ms >= 100 else f"{time_ms:.3g} ms"


def model_bytes(manifest: Manifest) -> int:
    """Return the size of the model file."""
    return manifest.files[manifest.model.file].size_bytes


def _first_figures(figures: Figures) -> list[tuple[str, str]]:
    manifest = figures.bundle.manifest
    found = _heads_first(figures) if manifest.is_split else _graph_first(figures)
    found.append((megabytes(model_bytes(manifest)), "model file"))
    if figures.latencies:
        first = figures.latencies[0]
        found.append((milliseconds(first.ms), f"a {words(manifest).one}, {first.basis.split(',')[0]}"))
    if not manifest.is_split:
        found.append((str(len(manifest.task.labels)), "labels"))
    return found


def _graph_first(figures: Figures) -> list[tuple[str, str]]:
    manifest, evaluation = figures.bundle.manifest, figures.evaluation
    if evaluation is not None:
        return [_measured(evaluation.report, "accuracy")]
    return _recorded({split: one.accuracy for split, one in manifest.metrics.items()}, "accuracy")


def _heads_first(figures: Figures) -> list[tuple[str, str]]:
    """Return the accuracy of the first heads."""
    found = []
    for one in figures.heads[:MOST_CARDS]:
        if one.evaluation is not None:
            found.append(_measured(one.evaluation.report, f"{one.head.name}: accuracy"))
        else:
            known = {split: figures["accuracy"] for split, figures in one.recorded.items() if "accuracy" in figures}
            found += _recorded(known, f"{one.head.name}: accuracy")
    return found


def _measured(report: EvalReport, what: str) -> tuple[str, str]:
    low, high = (percent(end) for end in report.accuracy_95)
    return percent(report.accuracy), f"{what}, {report.split} split ({low} to {high})"


def _recorded(accuracies: Mapping[str, float], what: str) -> list[tuple[str, str]]:
    if not accuracies:
        return []
    split = "test" if "test" in accuracies else next(iter(accuracies))
    return [(percent(accuracies[split]), f"{what}, {split} split, recorded at the build")]


def _answers(figures: Figures) -> list[tuple[str, Content]]:
    """Return what is answered: the labels, or the heads outside of the graph."""
    manifest = figures.bundle.manifest
    if not manifest.is_split:
        return [
            ("Task", task_text(manifest.task, words(manifest).one)),
            ("Labels", labels_list(manifest.task.labels)),
        ]
    links = [
        element("li", element("a", one.head.name, href=f"#head-{one.head.name}"),
                f": {task_text(one.head.task, words(manifest).one)}; {megabytes(one.size_bytes)}")
        for one in figures.heads
    ]  # fmt: skip
    heads: Content = element("ul", links, class_="plain") if links else "none yet: it gives features"
    return [("Heads", heads)]


def _features(figures: Figures) -> Html | None:
    """Return how near the features are to the float model's."""
    agreement = figures.agreement
    if not isinstance(agreement, FeatureAgreement):
        return None
    return paragraph(
        f"On the {agreement.samples} golden samples that the bundle carries, its features were as the float model's "
        f"with a mean cosine of {agreement.mean_cosine:.4f}, the least {agreement.least_cosine:.4f}."
    )


def _output(manifest: Manifest) -> str:
    kind = "features" if manifest.is_split else "scores" if manifest.model.scores_in_graph else "logits"
    return f"{_tensor(manifest.model.output)}, {kind}"


def _printing(figures: Figures) -> str:
    """Return the lines of an app that print the result."""
    if not figures.bundle.manifest.is_split:
        return "print(result.label, result.score, result.scores)"
    if not figures.heads:
        return "print(result.embedding)  # (features,) float32"
    away = any(one.head.outliers is not None for one in figures.heads)
    why = "  # label is None where it is turned away; reason says why" if away else ""
    if len(figures.heads) == 1:
        return f"print(result.to_json()){why}"
    return f"for head, answer in result.items():\n    print(head, answer.to_json()){why}"


def _recipe(manifest: Manifest) -> str:
    recipe = manifest.recipe
    words = f"{recipe.name}: weights {recipe.weights}, activations {recipe.activations}"
    scales = "" if recipe.granularity == "-" else f", scales {recipe.granularity.replace('_', ' ')}"
    others = f"; {len(recipe.overrides)} groups of ops with other numbers" if recipe.overrides else ""
    return f"{words}{scales}{others}"


def _budget(manifest: Manifest) -> str:
    budget = manifest.budget
    if budget is None:
        return "none"
    kept = f"{len(budget.kept)} ops kept in floats" if budget.kept else "nothing had to be kept in floats"
    return (
        f"at most {budget.max_drop:g} points below the float model on the validation split: "
        f"{percent(budget.val_exported)} beside {percent(budget.val_float)}; {kept}"
    )


def _tensor(tensor: TensorSpec) -> str:
    pair = tensor.quantization
    shape = " x ".join(map(str, tensor.shape))
    if pair is None:
        return f"{tensor.name}: {tensor.dtype} {shape}"
    moved = f"- {pair.zero_point}" if pair.zero_point >= 0 else f"+ {-pair.zero_point}"
    return f"{tensor.name}: {tensor.dtype} {shape}, real = {pair.scale:g} * (stored {moved})"


def _engine(manifest: Manifest) -> str:
    return ENGINE_NAMES.get(manifest.format, manifest.format)
