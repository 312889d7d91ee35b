"""The page: whole, self-contained, escaped, readable by machines and by a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fake_runs import make_group

from neurodeploy.reporting import report
from neurodeploy.reporting.figures import figures
from neurodeploy.reporting.html import page
from neurodeploy.reporting.model import Report
from neurodeploy.reporting.plain import csv_files, markdown
from neurodeploy.reporting.svg import COLORS, ticks
from neurodeploy.reporting.tables import tables

FIGURES = {
    "accuracy", "trade", "quantization", "membranes", "firing", "features", "operations", "energy", "layer_energy",
    "curves",
}  # fmt: skip


class Outline(HTMLParser):
    """Tags with their attributes; fails on tags that do not close."""

    VOID = ("meta", "link", "br", "rect", "line", "circle", "path")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    return parser


def test_every_figure_is_there_and_described(made: Report) -> None:
    html = page(made)
    parsed = outline(html)
    ids = {attributes.get("id") for _, attributes in parsed.tags}
    assert {f"figure-{name}" for name in FIGURES} <= ids
    for tag, attributes in parsed.tags:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert set((attributes["aria-labelledby"] or "").split()) <= ids
    assert html.count("<desc") == html.count("<svg")


def test_ids_are_unique(made: Report) -> None:
    ids = [attributes["id"] for _, attributes in outline(page(made)).tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_nothing_comes_from_outside(made: Report) -> None:
    html = page(made)
    assert not re.search(r"https?://|//[a-z]|@import|url\(", html.split('<script type="application/json"')[0])
    for _, attributes in outline(html).tags:
        assert "src" not in attributes
        assert attributes.get("href", "data:,") == "data:,"
    assert "default-src 'none'" in html


def test_the_first_screen_answers(made: Report) -> None:
    top = page(made).split("What changed")[0]
    assert "no clear difference in accuracy" in top
    assert "less dynamic energy" in top
    assert "not significant with n = 3" in top


def test_data_in_the_page_is_the_report(made: Report) -> None:
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page(made), re.DOTALL)
    assert data is not None
    assert json.loads(data[1]) == json.loads(json.dumps(made.to_json()))


def test_names_are_escaped(tmp_path: Path, calls: dict[str, int]) -> None:
    evil = "<script>alert(1)<"
    made = report(
        make_group(tmp_path / "digits-conv-a", seeds=1), make_group(tmp_path / f"digits-conv-{evil}", seeds=1)
    )
    html = page(made)
    assert evil not in html
    assert "&lt;script&gt;alert(1)" in html
    outline(html)


def test_three_groups_and_one(tmp_path: Path, calls: dict[str, int]) -> None:
    folders = [
        make_group(tmp_path / "x-a", seeds=2),
        make_group(tmp_path / "x-b", method="rmp", seeds=2),
        make_group(tmp_path / "x-c", method="rmp", seeds=1, overrides=["loss.rmp.k=0.2"]),
    ]
    assert "b, c against a" in page(report(*folders))
    outline(page(report(folders[0])))


def test_small(made: Report) -> None:
    assert len(page(made).encode()) < 300_000


def test_figures_alone_are_svg_files(made: Report) -> None:
    for figure in figures(made).values():
        root = ElementTree.fromstring(figure.file())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "NaN" not in figure.file()


def test_colors_stand_out() -> None:
    """WCAG 2: text 4.5:1, graphics 3:1, in both modes."""

    def luminance(color: str) -> float:
        channels = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for mode in (0, 1):
        surface = luminance(COLORS["surface"][mode])
        for name, pair in COLORS.items():
            lighter, darker = sorted((surface, luminance(pair[mode])), reverse=True)
            least = {"surface": 1, "grid": 1, "ink": 4.5, "muted": 4.5}.get(name, 3)
            assert (lighter + 0.05) / (darker + 0.05) >= least, (name, mode)


def test_ticks() -> None:
    assert ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(0.971, 0.993, 4) == [0.98, 0.99]
    assert ticks(-1, 2, 6) == [-1, -0.5, 0, 0.5, 1, 1.5, 2]
    assert ticks(3, 3) == [3]


def test_tables_are_rectangular(made: Report) -> None:
    for table in tables(made).values():
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.name


def test_markdown_and_csv(made: Report) -> None:
    text = markdown(made)
    assert text.startswith(f"# {made.title}\n")
    assert "| recipe key | vanilla | rmp |" in text
    assert "| loss.rmp.k | absent | 0.1 |" in text
    files = csv_files(made)
    assert files["groups.csv"].splitlines()[0].startswith("group,method,n,n (value),")
    assert set(files) == {f"{name}.csv" for name in tables(made)}


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_in_a_browser(made: Report, tmp_path: Path) -> None:
    """The script runs, sorts a table from a click, and nothing is reported on the console."""
    probe = """<script>
const table = document.querySelector("#table-terms table");
const head = table.tHead.rows[0].cells[4];
head.querySelector("button").click();
const values = [...table.tBodies[0].rows].map((r) => r.cells[4].dataset.v).filter((v) => v !== undefined).map(Number);
document.title = JSON.stringify({
  sorted: values.every((v, i) => !i || values[i - 1] <= v), aria: head.getAttribute("aria-sort"),
  wide: document.documentElement.scrollWidth <= innerWidth,
  shown: [...document.querySelectorAll("svg")].every((s) => s.getBoundingClientRect().height > 20),
});</script></body>"""
    file = tmp_path / "report.html"
    file.write_text(page(made).replace("</body>", probe), encoding="utf-8")
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--window-size=500,900",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title is not None, done.stderr[-2000:]
    assert json.loads(title[1]) == {"sorted": True, "aria": "ascending", "wide": True, "shown": True}
    assert "CONSOLE" not in done.stderr
