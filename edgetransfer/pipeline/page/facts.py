"""The parts of a page that the manifest alone tells: head, what the model is, how to run it."""

from __future__ import annotations

from edgetransfer.pipeline.page_figures import Figures
from edgetransfer.pipeline.page_gaps import bundle_word
from edgetransfer.pipeline.page_html import Content, Html, code, element, facts, join, paragraph, section
from edgetransfer.spec.manifest import Manifest
from edgetransfer.spec.tensor import TensorSpec

ENGINE_NAMES = {"litert": "LiteRT", "onnx": "ONNX Runtime", "tflm": "TensorFlow Lite Micro"}
MANY_LABELS = 24  # more are folded away
FITS = {
    "crop": "the largest centred part of the right shape is taken",
    "squash": "the whole photo is squashed or stretched into it",
    "pad": "the whole photo is put into it, with bars around",
}


def heading(figures: Figures) -> Html:
    """Return the page's head: the name, one sentence, and the figures that everybody asks for first."""
    manifest = figures.bundle.manifest
    labels = len(manifest.task.labels)
    backbone = manifest.backbone.name
    line = f"Tells {labels} labels apart in photos: {backbone}, {manifest.recipe.name}, for {_engine(manifest)}."
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
    task, image, backbone = manifest.task, manifest.image, manifest.backbone
    temperature = "" if task.temperature == 1 else f", temperature {task.temperature:g}"
    kind = "scores" if manifest.model.scores_in_graph else "logits"
    pairs: list[tuple[str, Content]] = [
        ("Task", f"{task.kind.replace('_', ' ')}: one of {len(task.labels)} labels for each photo{temperature}"),
        ("Labels", _labels(task.labels)),
        ("Photo", f"{image.width_px} x {image.height_px} px, RGB; of another shape: {FITS[image.fit]} ({image.fit})"),
        ("Backbone", f"{backbone.name}, alpha {backbone.alpha:g}, pretrained on {backbone.pretrained_on}"),
        ("Recipe", _recipe(manifest)),
        ("Format", f"{manifest.format}, for {_engine(manifest)}"),
        ("Input", _tensor(manifest.model.input)),
        ("Output", f"{_tensor(manifest.model.output)}, {kind}"),
        ("Built for", manifest.device or "any device"),
    ]
    if manifest.budget is not None:
        pairs.append(("Accuracy budget", _budget(manifest)))
    if manifest.allowed:
        pairs.append(("Exceptions", f"gates passed knowingly at the build: {', '.join(manifest.allowed)}"))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items()))
    pairs.append(("Made by", f"edgetransfer {manifest.edgetransfer}" + (f" with {versions}" if versions else "")))
    pairs.append(("Bundle", join("sha256 ", element("code", figures.bundle.sha256))))
    return section("about", "What it is", facts(pairs))


def usage(figures: Figures) -> Html:
    """Return how to run it: on the command line, and in an app."""
    manifest, bundle = figures.bundle.manifest, bundle_word(figures)
    extra = f"{manifest.format},image"
    shell = f"pip install 'edgetransfer[{extra}]'\nedgetransfer verify {bundle}\nedgetransfer run {bundle} photo.jpg"
    python = (
        "from edgetransfer.runtime import Predictor\n\n"
        f"predictor = Predictor.load({figures.bundle.path.name!r})  # once\n"
        "result = predictor.predict(frame)  # (H, W, 3) uint8 RGB, any size; or the path of a photo\n"
        "print(result.label, result.score, result.scores)"
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
    manifest, evaluation = figures.bundle.manifest, figures.evaluation
    found = []
    if evaluation is not None:
        report = evaluation.report
        low, high = (percent(end) for end in report.accuracy_95)
        found.append((percent(report.accuracy), f"accuracy, {report.split} split ({low} to {high})"))
    elif manifest.metrics:
        split = "test" if "test" in manifest.metrics else next(iter(manifest.metrics))
        recorded = manifest.metrics[split]
        found.append((percent(recorded.accuracy), f"accuracy, {split} split, recorded at the build"))
    found.append((megabytes(model_bytes(manifest)), "model file"))
    if figures.latencies:
        first = figures.latencies[0]
        found.append((milliseconds(first.ms), f"an image, {first.basis.split(',')[0]}"))
    found.append((str(len(manifest.task.labels)), "labels"))
    return found


def _labels(labels: tuple[str, ...]) -> Html:
    items = element("ul", [element("li", label) for label in labels], class_="labels")
    if len(labels) <= MANY_LABELS:
        return items
    return element("details", element("summary", f"all {len(labels)}"), items)


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
