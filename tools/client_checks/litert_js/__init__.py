"""LiteRT.js in headless Chromium, from files on this machine only: the README's lines in a page of ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from client_checks.comparison import Answers
from client_checks.documented import lines_for
from client_checks.environments import BROWSERS, find_program, npm_packages
from client_checks.failures import CheckFailed
from client_checks.litert_js.server import Server
from client_checks.samples import Sample

HERE = Path(__file__).parent
DECLARATION = HERE / "package.json"
TIMEOUT_S = 180.0
FLAGS = (
    "--headless",
    "--no-sandbox",  # which root cannot have; the only page is ours
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",  # containers have little
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing may come from elsewhere
)


def version() -> str:
    """Return the package that is asked, with its version."""
    pinned = json.loads(DECLARATION.read_text(encoding="utf-8"))["dependencies"]
    return f"@litertjs/core=={pinned['@litertjs/core']} in Chromium"


def ask_litert_js(sample: Sample, document: str) -> Answers:
    """Return what LiteRT.js says of the sample's images, computed on the CPU by WebAssembly."""
    block = lines_for("litert.js", "js", document)
    packages = npm_packages(DECLARATION)
    browser = find_program(BROWSERS, debian="chromium")
    texts = {
        "/": (HERE / "index.html").read_bytes(),
        "/page.js": (HERE / "page.js").read_bytes(),
        "/documented.js": block.encode(),
        "/images.json": json.dumps([len(sample.inputs), sample.inputs[0].size]).encode(),
        "/images.bin": sample.inputs.tobytes(),
    }
    folders = {"/node_modules/": packages, "/waste.bundle/": sample.bundle.path}
    return read_answers(_answers_of_page(browser, texts, folders))


def read_answers(result: Mapping[str, Any]) -> Answers:
    """Return the answers that the page posted.

    Raises:
        CheckFailed: it posted an error, or labels change from image to image.
    """
    if "error" in result:
        missing = f"; not served: {result['missing']}" if result.get("missing") else ""
        raise CheckFailed(f"the page says: {result['error']}{missing}")
    given: Sequence[Sequence[Mapping[str, Any]]] = result["answers"]
    labels = tuple(one["label"] for one in given[0])
    if any(tuple(one["label"] for one in answer) != labels for answer in given):
        raise CheckFailed("the labels change from image to image")
    return Answers(labels, np.array([[one["score"] for one in answer] for answer in given], np.float64))


def _answers_of_page(browser: str, texts: Mapping[str, bytes], folders: Mapping[str, Path]) -> dict[str, Any]:
    with (
        Server(texts, folders) as server,
        tempfile.TemporaryDirectory(prefix="edgetransfer-chromium-", ignore_cleanup_errors=True) as profile,
        tempfile.TemporaryFile("w+") as log,
    ):
        process = subprocess.Popen(
            [browser, *FLAGS, f"--user-data-dir={profile}", server.address],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            result = server.wait(TIMEOUT_S, lambda: process.poll() is None)
        finally:
            _end(process)
        if result is None:
            log.seek(0)
            end = "ended" if process.returncode not in (-signal.SIGTERM, -signal.SIGKILL) else "did not answer"
            raise CheckFailed(f"{browser} {end}; not served: {sorted(server.missing)}\n{log.read()[-2000:]}")
        return {**result, "missing": sorted(server.missing)}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the browser and its children, which are a group of their own."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
