"""The page in a real, headless Chromium.

Screenshots, the page and its PDF stay in ``tests-output/``, or where ``NEURODEPLOY_TEST_OUTPUT`` says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import make_group, stand_in
from PIL import Image

from neurodeploy.reporting import report
from neurodeploy.reporting.figures import figures
from neurodeploy.reporting.html import page
from neurodeploy.reporting.model import Report
from neurodeploy.reporting.tables import tables

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
OUTPUT = Path(os.environ.get("NEURODEPLOY_TEST_OUTPUT", Path(__file__).parents[2] / "tests-output"))
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no Chromium here: none of {', '.join(NAMES)}")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-domain-reliability",
    "--enable-logging=stderr",
)

#: What a page says of itself: to its title, or to the page that frames it.
PROBE = """<script>
const broken = [];
addEventListener("error", (event) => broken.push(String(event.message || event.target)), true);
addEventListener("securitypolicyviolation", (event) => broken.push(event.blockedURI));
addEventListener("load", () => setTimeout(() => {
  const figures = [...document.querySelectorAll("figure")];
  const drawings = [...document.querySelectorAll("figure svg")];
  const sizes = drawings.map((svg) => [svg.getBoundingClientRect(), svg.viewBox.baseVal]);
  const table = document.querySelector("#table-terms table");
  let sorted = null, aria = null, focused = null;
  if (table) {
    const button = table.tHead.rows[0].cells[4].querySelector("button");
    button.focus();
    focused = document.activeElement === button;
    button.click();
    const cells = [...table.tBodies[0].rows].map((row) => row.cells[4].dataset.v);
    const values = cells.filter((v) => v !== undefined).map(Number);
    sorted = values.every((v, i) => !i || values[i - 1] <= v);
    aria = table.tHead.rows[0].cells[4].getAttribute("aria-sort");
  }
  const said = JSON.stringify({
    broken, sorted, aria, focused,
    figures: figures.map((figure) => figure.id),
    tables: document.querySelectorAll(".table").length,
    empty: sizes.filter(([box]) => box.height < 20).length,
    scale: Math.min(...sizes.map(([box, view]) => box.width / view.width)),
    wide: document.documentElement.scrollWidth - innerWidth,
    copy: [...document.querySelectorAll(".copy")].every((b) => !b.hidden),
    first: document.querySelector("header") ? document.querySelector("header").getBoundingClientRect().bottom : 0,
  });
  if (parent === self) document.title = said; else parent.postMessage(said, "*");
}, 0));
</script>"""
FRAME = """<!doctype html><title>waiting</title><body style="margin:0">
<script>addEventListener("message", (event) => { document.title = event.data; });</script>
<iframe src="%s" style="width:390px;height:2400px;border:0"></iframe></body>"""
CONTROL = """<!doctype html><html><head>%s</head><body><script>console.error("loud")</script>
<img src="http://outside.invalid/pixel.png"></body></html>"""


@dataclass(frozen=True)
class Opened:
    """What the browser made of a page: what its probe said, console lines, addresses that the page asked for."""

    said: dict[str, Any]
    console: list[str]
    requests: list[str]


def browse(folder: Path, file: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def opened(folder: Path, html: str, *flags: str) -> Opened:
    """Open a page that holds the probe. Requests of the browser itself have no origin, those of a page have one."""
    file, log = folder / "opened.html", folder / "net.json"
    file.write_text(html, encoding="utf-8")
    done = browse(folder, file, "--window-size=1280,900", "--virtual-time-budget=4000", f"--log-net-log={log}",
                  *flags, "--dump-dom")  # fmt: skip
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title is not None, done.stderr[-2000:]
    text = log.read_text(encoding="utf-8")
    try:
        events = json.loads(text)["events"]
    except ValueError:  # the browser ended before it closed its log
        events = json.loads(text.rstrip().rstrip(",") + "]}")["events"]
    asked = [event["params"] for event in events if "initiator" in (event.get("params") or {})]
    requests = [p["url"] for p in asked if p["initiator"] != "not an origin" and not p["url"].startswith("file:")]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    unescaped = title[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
    return Opened(json.loads(unescaped), console, requests)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """Four methods side by side, as in the papers' tables."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        yield report(
            make_group(folder / "digits-conv-vanilla"),
            make_group(folder / "digits-conv-rmp", method="rmp"),
            make_group(folder / "digits-conv-laf", method="laf", seeds=1),
            make_group(folder / "digits-conv-repact", method="repact", seeds=1),
        )


@pytest.fixture(scope="module")
def html(made: Report) -> str:
    return page(made)


def probed(html: str) -> str:
    return html.replace('<meta charset="utf-8">', f'<meta charset="utf-8">{PROBE}', 1)


def test_whole_silent_and_alone(made: Report, html: str, tmp_path: Path) -> None:
    """No console message, no request, every figure drawn, a table sorted by its button, the answer on one screen."""
    found = opened(tmp_path, probed(html))
    assert found.console == []
    assert found.requests == []
    said = found.said
    assert said["broken"] == []
    assert set(said["figures"]) == {f"figure-{name}" for name in figures(made)}
    assert said["tables"] == len(tables(made))
    assert said["empty"] == 0
    assert (said["sorted"], said["aria"], said["focused"], said["copy"]) == (True, "ascending", True, True)
    assert said["wide"] <= 0
    assert said["first"] <= 900, "the answers end on the first screen"


def test_the_probe_sees_what_it_looks_for(tmp_path: Path) -> None:
    found = opened(tmp_path, CONTROL % PROBE)
    assert any("loud" in line for line in found.console)
    assert found.requests == ["http://outside.invalid/pixel.png"]
    assert found.said["broken"] != []


def test_on_a_phone(html: str, tmp_path: Path) -> None:
    """390 px: nothing is wider than the screen, and no drawing shrinks below three quarters."""
    (tmp_path / "page.html").write_text(probed(html), encoding="utf-8")
    said = opened(tmp_path, FRAME % "page.html").said
    assert said["wide"] <= 0
    assert said["scale"] > 0.75
    assert said["broken"] == []


def test_on_paper(html: str, tmp_path: Path) -> None:
    """The rules for print on a sheet 720 px wide: no table is cut off."""
    (tmp_path / "page.html").write_text(probed(html).replace("@media print", "@media all"), encoding="utf-8")
    said = opened(tmp_path, FRAME.replace("390px", "720px") % "page.html").said
    assert said["wide"] <= 0
    assert said["copy"], "the script ran"


def test_pictures_are_kept(html: str, tmp_path: Path) -> None:
    """One screen, all of it in the dark, and on paper."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    file = OUTPUT / "report.html"
    file.write_text(html, encoding="utf-8")
    pictures = {
        "report.png": ("--window-size=1280,900",),
        "report-dark.png": ("--window-size=1280,2400", "--blink-settings=preferredColorScheme=0"),
    }
    for name, flags in pictures.items():
        (OUTPUT / name).unlink(missing_ok=True)
        browse(tmp_path, file, *flags, f"--screenshot={OUTPUT / name}")
        assert (OUTPUT / name).stat().st_size > 20_000, name
    light, dark = (np.asarray(Image.open(OUTPUT / name).convert("L")).mean() for name in pictures)
    assert light > 200
    assert dark < 80
    browse(tmp_path, file, "--no-pdf-header-footer", f"--print-to-pdf={OUTPUT / 'report.pdf'}")
    assert (OUTPUT / "report.pdf").read_bytes().startswith(b"%PDF")
