"""PNG of our own SVG."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neurodeploy.reporting import raster
from neurodeploy.reporting.figures import figures
from neurodeploy.reporting.model import Report
from neurodeploy.reporting.svg import COLORS, Canvas, standalone


def pixels(canvas: Canvas, legend: tuple[tuple[str, str], ...] = ()) -> np.ndarray:
    svg = standalone("A title", "words", legend, (canvas,))
    return np.asarray(Image.open(io.BytesIO(raster.png(svg))))


def rgb(name: str) -> list[int]:
    return [int(COLORS[name][0][k : k + 2], 16) for k in (1, 3, 5)]


@pytest.fixture
def canvas() -> Canvas:
    made = Canvas(100, "a panel", "described")
    made.height = 60
    return made


def test_shapes_stand_where_the_svg_has_them(canvas: Canvas) -> None:
    """The panel starts at 16 + 26 units, two pixels each."""
    canvas.rect(10, 10, 20, 10, "var(--t0)")
    canvas.rect(40, 10, 20, 10, "var(--t3)", opacity=0.5)
    canvas.circle(80, 15, 6, "var(--t5)")
    canvas.path([(10, 30), (30, 30), (30, 40), (10, 40)], fill="var(--t8)", closed=True)
    canvas.dots([(50, 35), (60, 35)], 3, "var(--c0)")
    canvas.line(0, 50, 100, 50, "var(--ink)", dash="10 10", width=4)
    image = pixels(canvas)
    assert image.shape == (2 * (60 + 26 + 14 + 32), 2 * 132, 3)

    def at(x: float, y: float) -> list[int]:
        return image[round(2 * (y + 42)), round(2 * (x + 16))].tolist()

    assert at(20, 15) == rgb("t0")
    assert np.abs(np.array(at(50, 15)) - (np.array(rgb("t3")) + rgb("surface")) / 2).max() <= 1
    assert at(80, 15) == rgb("t5")
    assert at(20, 35) == rgb("t8")
    assert (at(50, 35), at(55, 35), at(60, 35)) == (rgb("c0"), rgb("surface"), rgb("c0"))
    assert (at(5, 50), at(15, 50), at(25, 50)) == (rgb("ink"), rgb("surface"), rgb("ink"))


def test_text_is_set_on_its_anchor(canvas: Canvas) -> None:
    canvas.text(50, 30, "|||||||||", anchor="end")
    dark = np.argwhere(pixels(canvas)[84 + 20 : 84 + 80].min(axis=2) < 128)
    assert dark[:, 1].max() <= 2 * (50 + 16)
    assert dark[:, 1].max() >= 2 * (50 + 16) - 8


def test_without_fonts_signs_are_spelled(canvas: Canvas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster, "_FONTS", {400: (), 600: ()})
    raster._font.cache_clear()
    canvas.text(0, 20, "≥ 3 µJ − Ω", weight=600)
    image = pixels(canvas, (("legend", "var(--g0)"),))
    raster._font.cache_clear()
    assert (image.min(axis=2) < 128).any()


def test_every_figure_of_a_report(made: Report, tmp_path: Path) -> None:
    for figure in figures(made).values():
        image = Image.open(io.BytesIO(figure.png()))
        assert image.format == "PNG"
        assert len(image.getcolors(1 << 24) or []) > 20, figure.name


def test_panels_stand_in_rows(canvas: Canvas) -> None:
    """Eight panels of 100 units in a row of 1,050; 300 make three."""
    for width, columns in ((100, 8), (300, 3), (460, 2), (1200, 1)):
        panels = []
        for _ in range(8):
            panel = Canvas(width, "", "")
            panel.height = 10
            panels.append(panel)
        svg = standalone("A title", "words", (), panels)
        places = re.findall(r"translate\((\S+) (\S+)\)", svg)
        assert sum(y == places[0][1] for _, y in places) == columns
        assert len(set(places)) == 8
