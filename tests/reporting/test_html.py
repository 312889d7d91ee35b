"""The page: whole, self-contained, escaped, readable by machines and by a browser."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

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
    html = page(report(*folders))
    title = re.search(r'<h1 class="long">(.*?)</h1>', html)
    assert title is not None
    assert title[1].startswith("None is clearly more accurate than a (highest: ")
    assert html.count('<th scope="row">') == 3
    outline(page(report(folders[0])))


def test_without_a_script_nothing_is_dead(made: Report) -> None:
    """Buttons that only the script can serve are hidden until it runs; heads of tables are plain text."""
    tags = outline(page(made).split("<script")[0] + "</body></html>").tags
    buttons = [attributes for tag, attributes in tags if tag == "button"]
    assert len(buttons) > 5
    assert all("hidden" in attributes for attributes in buttons)


def test_small(made: Report) -> None:
    assert len(page(made).encode()) < 400_000


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


def test_no_term_has_a_color_of_a_group() -> None:
    """One legend names both. 35 of 442 in RGB lets the closest pairs here (pink and red) be told apart side by side."""
    names = [[name for name in COLORS if re.fullmatch(f"{kind}[0-9]", name)] for kind in "gt"]
    for mode in (0, 1):
        for group, term in product(*names):
            pair = [bytes.fromhex(COLORS[name][mode][1:]) for name in (group, term)]
            assert math.dist(*pair) >= 35, (group, term, mode)


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
