"""The page in Chromium, in both colour schemes and as narrow as a small phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="charts need the extra 'train'")

from PIL import Image

from edgetransfer.pipeline.page import PageOptions, gather, render
from edgetransfer.pipeline.page.figures import LatencyRow

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have; the only page is ours
    "--disable-gpu",
    "--hide-scrollbars",  # as on phones, where they take no room
    "--disable-dev-shm-usage",  # containers have little
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",  # the console's messages
)
DARK, LIGHT = "0", "1"  # Chromium's numbers of the schemes
NARROW_PX, WIDE_PX = 360, 1000
LEAST_CONTRAST = 4.5  # WCAG 2.2, level AA
LABELS = ("red", "a_very_long_label_without_any_place_to_break_it_" * 2, "blue, of many words that may be broken")

MEASURE = """
const frame = document.querySelector("iframe");
const luminance = (c) => {
  const [r, g, b] = c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => {
  const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
};
const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return [n.slice(0, 3), n[3] ?? 1]; };
const ground = (element) => {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((under, [c, a]) => c.map((v, i) => v * a + under[i] * (1 - a)), [255, 255, 255]);
};
addEventListener("load", () => {
  const inner = frame.contentDocument, body = inner.body, found = { overflow: {}, contrast: 99 };
  for (const width of [NARROW, WIDE]) {
    frame.style.width = width + "px";
    const root = inner.documentElement;
    found.overflow[width] = root.scrollWidth - width;
  }
  for (const details of inner.querySelectorAll("details")) details.open = true;
  found.overflow.opened = inner.documentElement.scrollWidth - WIDE;
  for (const element of body.querySelectorAll("*")) {
    if (![...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(element);
    const colour = parse(element.closest("svg") ? style.fill : style.color)[0];
    const value = contrast(colour, ground(element));
    if (value < found.contrast) Object.assign(found, { contrast: value, where: element.outerHTML.slice(0, 200) });
  }
  found.body = getComputedStyle(body).backgroundColor;
  found.images = [...inner.images].map((image) => image.naturalWidth);
  found.texts = inner.querySelectorAll("svg text").length;
  found.largest = Math.max(...[...inner.querySelectorAll("svg")].map((svg) => svg.getBoundingClientRect().width));
  document.querySelector("#found").textContent = JSON.stringify(found);
});
""".replace("NARROW", str(NARROW_PX)).replace("WIDE", str(WIDE_PX))


@pytest.fixture(scope="module")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs {BROWSERS[0]}; on Debian and Ubuntu: sudo apt install chromium")
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory, tiny_bundle):
    """A page with all that one can have, long names among it."""
    folder = tmp_path_factory.mktemp("page")
    bundle = tiny_bundle.make_bundle(folder / "tiny.bundle", labels=LABELS)
    random = np.random.default_rng(0)
    lines = ["path,label,split"]
    for number in range(24):
        pixels = random.integers(0, 110, (40, 60, 3))
        pixels[..., number % 3] += 100
        name = f"{'a_long_name' * 8}{number}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        lines.append(f'{name},"{LABELS[(number + number // 20) % 3]}",test')
    (folder / "photos.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [
        LatencyRow("A board whose maker gave it a name of many words", "litert", 30.0, 20.0, 50.0, "80 %", "predicted, "
                   "unvalidated", measured=False)
    ]  # fmt: skip
    options = PageOptions(bundle.path, folder / "photos.csv", devices=("raspberry_pi_4", "jetson_orin_nano"))
    found = gather(options)
    return render(replace(found, latencies=(*found.latencies, *rows))).decode()


def look(browser: str, page: str, scheme: str, folder: Path) -> tuple[dict, list[str]]:
    """Return what the script measured in a frame with `page`, and what the console said."""
    wrapper = (
        '<!DOCTYPE html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f'<iframe srcdoc="{html.escape(page)}" style="height:2000px;border:0"></iframe>'
        f'<pre id="found"></pre><script>{MEASURE}</script>'
    )
    (folder / "wrapper.html").write_text(wrapper, encoding="utf-8")
    command = [
        browser,
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        f"--blink-settings=preferredColorScheme={scheme}",
    ]
    done = subprocess.run(
        [*command, "--dump-dom", (folder / "wrapper.html").as_uri()],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.S)
    assert found is not None, done.stderr[-2000:]
    return json.loads(html.unescape(found[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def pages(page, request):
    """Returns a page: of a head inside the graph, or of heads outside of it with all that they can have."""

    @cache
    def one(name):
        if name == "inside":
            return page
        made = request.getfixturevalue(name)
        asked = PageOptions(
            made.bundle.path,
            made.data,
            head_data=tuple(made.others.items()),
            strangers=made.strangers,
            measure=False,  # what was measured is in the first page, a learning curve in that about sentences
            learning_curve=name == "sentences",
        )
        return render(gather(asked)).decode()

    return one


@pytest.mark.parametrize(
    ("name", "scheme", "ground", "pictures"),
    [
        ("inside", LIGHT, "rgb(255, 255, 255)", True),
        ("inside", DARK, "rgb(20, 23, 28)", True),
        ("colours", LIGHT, "rgb(255, 255, 255)", True),
        ("colours", DARK, "rgb(20, 23, 28)", True),
        ("sentences", DARK, "rgb(20, 23, 28)", False),
    ],
)
def test_the_page_is_readable_and_fits_a_phone(name, scheme, ground, pictures, browser, pages, tmp_path):
    found, console = look(browser, pages(name), scheme, tmp_path)
    assert console == []
    assert found["body"] == ground
    assert found["overflow"] == {str(NARROW_PX): 0, str(WIDE_PX): 0, "opened": 0}
    assert found["contrast"] >= LEAST_CONTRAST, found["where"]
    assert bool(found["images"]) is pictures
    assert all(width > 0 for width in found["images"])
    assert found["texts"] > 10
    assert 200 < found["largest"] < 500


def test_what_would_be_wrong_is_noticed(browser, tmp_path):
    bad = (
        '<!DOCTYPE html><html><head><meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        'style-src \'unsafe-inline\'"></head><body style="background:#fff"><p style="width:700px;color:#aaa">pale'
        '<script>alert(1)</script><img src="data:image/gif;base64,"></p><svg><text>x</text></svg></body></html>'
    )
    found, console = look(browser, bad, LIGHT, tmp_path)
    assert found["overflow"][str(NARROW_PX)] > 300
    assert found["contrast"] < 3
    assert len(console) >= 1
    assert any("Content Security Policy" in line for line in console)
