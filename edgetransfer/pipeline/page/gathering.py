"""Collects the figures of a page: from the bundle, by measuring here, and on the data that were given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset, load_dataset
from edgetransfer.errors import InputError
from edgetransfer.pipeline.options import Silent, Watcher
from edgetransfer.pipeline.page.evaluation import evaluate_float_for_page, evaluate_for_page
from edgetransfer.pipeline.page.figures import Agreement, FeatureAgreement, Figures, FloatModel, Profiled
from edgetransfer.pipeline.page.head_evaluation import evaluate_heads
from edgetransfer.pipeline.page.latency import measured_rows, predicted_rows, read_profile
from edgetransfer.pipeline.page.measured import Evaluation
from edgetransfer.pipeline.page.options import PageOptions
from edgetransfer.profile import profile
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.device import Device, device_names, load_device
from edgetransfer.spec.model_input import channels_of

SERIES_SECONDS = 3.0  # of measuring here, for each number of threads


def gather(options: PageOptions, *, watcher: Watcher | None = None) -> Figures:
    """Return the figures of a page.

    Args:
        options: What to make it of.
        watcher: Is told the stages.

    Raises:
        BundleError: the folder is no bundle, or a file in it was changed; or the run is none.
        DataError: the data cannot be used, or have other labels.
        InputError: a profile is of another bundle, or an option that this bundle cannot be asked.
        UnknownNameError, DeviceError: a device or a head is not known, or a device's file is malformed.
        EngineError: no engine is installed.
    """
    watcher = watcher or Silent()
    bundle = Bundle.load(options.bundle)
    _check_options(options, bundle)
    bundle.check_integrity()
    devices = _devices(options.devices, bundle)
    profiles = [read_profile(path, bundle) for path in options.profiles]
    heads = evaluate_heads(bundle, options, watcher) if bundle.manifest.is_split else ()
    evaluation, floats = (None, None) if bundle.manifest.is_split else _evaluations(options, bundle, watcher)
    if options.measure:
        watcher.stage("measuring here")
        report = profile(bundle, providers=_providers(options, bundle), seconds=SERIES_SECONDS)
        profiles.insert(0, Profiled(report))
    latencies = (*measured_rows(profiles), *predicted_rows(bundle, devices))
    return Figures(bundle, _agreement(bundle), evaluation, floats, tuple(profiles), latencies, devices, heads)


def _check_options(options: PageOptions, bundle: Bundle) -> None:
    """Refuse what this bundle cannot be asked, before anything is measured.

    Raises:
        InputError: says which option, and what to do.
    """
    if bundle.manifest.is_split:
        if options.float_run is not None:
            raise InputError("report: --float-run is for bundles with their head inside the graph; leave it out")
        return
    if options.float_run is not None and options.data is None:
        raise InputError("report: --float-run needs --data: the photos that the float model is to be measured on")
    if options.head_data:
        name = options.head_data[0][0]
        raise InputError(
            f"report: --head {name}: the head of bundle {bundle.folder!r} is inside its graph; give --data"
        )
    if options.strangers is not None:
        raise InputError(
            f"report: --strangers: bundle {bundle.folder!r} has its head inside the graph and turns nothing away; "
            "build it with --reject"
        )


def _devices(named: Sequence[str], bundle: Bundle) -> tuple[Device, ...]:
    own = bundle.manifest.device
    if not named and own in device_names():
        named = (str(own),)
    return tuple(load_device(name) for name in dict.fromkeys(named))


def _providers(options: PageOptions, bundle: Bundle) -> tuple[str, ...] | None:
    return options.providers if bundle.manifest.format == "onnx" else None


def _agreement(bundle: Bundle) -> Agreement | FeatureAgreement | None:
    golden = bundle.golden()
    if golden is None:
        return None
    if bundle.manifest.is_split:
        own = bundle.manifest.model.output.to_real(golden.own_outputs)
        cosines = _cosines(own.astype(np.float64), golden.float_logits.astype(np.float64))
        return FeatureAgreement(len(cosines), float(cosines.mean()), float(cosines.min()))
    same = golden.own_outputs.argmax(axis=1) == golden.float_logits.argmax(axis=1)
    return Agreement(len(same), int(same.sum()))


def _cosines(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: NDArray[np.float64] = (one * other).sum(axis=1) / np.maximum(lengths, 1e-12)
    return found


def _evaluations(options: PageOptions, bundle: Bundle, watcher: Watcher) -> tuple[Evaluation | None, FloatModel | None]:
    if options.data is None:
        return None, None
    dataset = _dataset(options, bundle, options.data, watcher)
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


def _dataset(options: PageOptions, bundle: Bundle, source: Path, watcher: Watcher) -> Dataset:
    watcher.stage("reading the data")
    return load_dataset(
        source,
        seed=options.seed,
        for_training=False,
        channels=channels_of(bundle.manifest.preprocess),
        progress=watcher.step,
        workers=options.workers,
    )
