"""One page about a bundle, whole in itself: what it is, how right, how large and how fast, how to run it, a model card.

`gather` collects the figures, `render` makes the page of them. Equal figures give equal bytes: no clock is read for it,
and no path of this machine is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import edgetransfer
from edgetransfer.data import Dataset, load_dataset
from edgetransfer.errors import InputError
from edgetransfer.pipeline.options import Silent, Watcher
from edgetransfer.pipeline.page_card import card
from edgetransfer.pipeline.page_data import data
from edgetransfer.pipeline.page_evaluation import evaluate_float_for_page, evaluate_for_page
from edgetransfer.pipeline.page_facts import about, heading, usage
from edgetransfer.pipeline.page_figures import Agreement, Evaluation, Figures, FloatModel, LatencyRow, Profiled
from edgetransfer.pipeline.page_html import Html, element
from edgetransfer.pipeline.page_latency import measured_rows, predicted_rows, read_profile
from edgetransfer.pipeline.page_metrics import confusion, metrics, mistakes, reliability
from edgetransfer.pipeline.page_speed import speed
from edgetransfer.profile import profile
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.device import Device, device_names, load_device

SERIES_SECONDS = 3.0  # of measuring here, for each number of threads
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""Nothing may come from elsewhere and nothing may run, whatever a label or a file is called."""

__all__ = ["Figures", "LatencyRow", "PageOptions", "gather", "render"]


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What a page is to be made of.

    Attributes:
        bundle: The bundle's folder.
        data: A folder of photos or a CSV to evaluate it on; None: the page has what the bundle holds.
        split: Which split of the data.
        seed: Of splits that are made here; must be the build's.
        float_run: The run whose float Keras model is put beside the bundle; None: none.
        devices: Slugs or files of devices to tell of; empty: the one that the bundle was built for.
        profiles: Files that `edgetransfer profile --json` wrote on devices.
        measure: Whether to measure on this machine as well.
        worst: How many mistakes to show as pictures.
        providers: What ONNX Runtime computes with; None: what the bundle was built for.
        workers: Threads; None: one a core.
    """

    bundle: Path
    data: Path | None = None
    split: str = "test"
    seed: int = 0
    float_run: Path | None = None
    devices: tuple[str, ...] = ()
    profiles: tuple[Path, ...] = ()
    measure: bool = True
    worst: int = 12
    providers: tuple[str, ...] | None = None
    workers: int | None = None


def gather(options: PageOptions, *, watcher: Watcher | None = None) -> Figures:
    """Return the figures of a page.

    Args:
        options: What to make it of.
        watcher: Is told the stages.

    Raises:
        BundleError: the folder is no bundle, or a file in it was changed; or the run is none.
        DataError: the data cannot be used, or have other labels.
        InputError: a profile is of another bundle, or a float model was asked for without data.
        UnknownNameError, DeviceError: a device is not known, or its file is malformed.
        EngineError: no engine is installed.
    """
    watcher = watcher or Silent()
    if options.float_run is not None and options.data is None:
        raise InputError("report: --float-run needs --data: the photos that the float model is to be measured on")
    bundle = Bundle.load(options.bundle)
    if bundle.manifest.is_split:
        raise InputError(
            f"report: bundle {bundle.folder!r} has its heads outside of the graph, which the page cannot show yet; "
            "edgetransfer evaluate and inspect tell its figures"
        )
    bundle.check_integrity()
    devices = _devices(options.devices, bundle)
    profiles = [read_profile(path, bundle) for path in options.profiles]
    agreement = _agreement(bundle)
    if options.measure:
        watcher.stage("measuring here")
        report = profile(bundle, providers=_providers(options, bundle), seconds=SERIES_SECONDS)
        profiles.insert(0, Profiled(report))
    evaluation, floats = _evaluations(options, bundle, watcher)
    latencies = (*measured_rows(profiles), *predicted_rows(bundle, devices))
    return Figures(bundle, agreement, evaluation, floats, tuple(profiles), latencies, devices)


def render(figures: Figures) -> bytes:
    """Return the page: HTML in UTF-8 that needs nothing else.

    Raises:
        InputError: a photo that should be shown cannot be read any more.
    """
    sections = [
        ("about", "What it is", about(figures)),
        ("data", "Data", data(figures)),
        ("metrics", "Metrics", metrics(figures)),
        ("confusion", "Confusion", confusion(figures)),
        ("reliability", "Calibration", reliability(figures)),
        ("mistakes", "Mistakes", mistakes(figures)),
        ("speed", "Size and speed", speed(figures)),
        ("usage", "How to run it", usage(figures)),
        ("card", "Model card", card(figures)),
    ]
    shown = [(name, title, content) for name, title, content in sections if content is not None]
    links = [element("li", element("a", title, href=f"#{name}")) for name, title, _ in shown]
    manifest = figures.bundle.manifest
    body = element(
        "body",
        heading(figures),
        element("nav", element("ul", links), aria_label="Parts of this page"),
        element("main", [content for _, _, content in shown]),
        element("footer", f"edgetransfer {edgetransfer.__version__}, bundle {figures.bundle.sha256[:12]}."),
    )
    page = element("html", _head(f"{manifest.name}: edgetransfer report"), body, lang="en")
    # File names may hold what is no text; a page must not fail for that.
    return f"<!DOCTYPE html>\n{page}\n".encode("utf-8", "backslashreplace")


def _head(title: str) -> Html:
    css = files("edgetransfer.pipeline").joinpath("page.css").read_text(encoding="utf-8")
    return element(
        "head",
        element("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        element("meta", name_="viewport", content_="width=device-width, initial-scale=1"),
        element("meta", name_="color-scheme", content_="light dark"),
        element("title", title),
        element("style", Html(css)),
    )


def _devices(named: Sequence[str], bundle: Bundle) -> tuple[Device, ...]:
    own = bundle.manifest.device
    if not named and own in device_names():
        named = (str(own),)
    return tuple(load_device(name) for name in dict.fromkeys(named))


def _providers(options: PageOptions, bundle: Bundle) -> tuple[str, ...] | None:
    return options.providers if bundle.manifest.format == "onnx" else None


def _agreement(bundle: Bundle) -> Agreement | None:
    golden = bundle.golden()
    if golden is None:
        return None
    same = golden.own_outputs.argmax(axis=1) == golden.float_logits.argmax(axis=1)
    return Agreement(len(same), int(same.sum()))


def _evaluations(options: PageOptions, bundle: Bundle, watcher: Watcher) -> tuple[Evaluation | None, FloatModel | None]:
    if options.data is None:
        return None, None
    dataset = _dataset(options, options.data, watcher)
    evaluation = evaluate_for_page(
        bundle,
        dataset,
        options.split,
        worst=options.worst,
        providers=options.providers,
        workers=options.workers,
        watcher=watcher,
    )
    if options.float_run is None:
        return evaluation, None
    return evaluation, evaluate_float_for_page(options.float_run, bundle, dataset, options.split, watcher)


def _dataset(options: PageOptions, source: Path, watcher: Watcher) -> Dataset:
    watcher.stage("reading the data")
    return load_dataset(source, seed=options.seed, for_training=False, progress=watcher.step, workers=options.workers)
