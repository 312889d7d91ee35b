"""A small drawing surface: SVG with a title and a description, colors by name, nothing from the network.

Colors are CSS custom properties (``var(--g0)``), so that one drawing serves the light and the dark page; ``standalone``
adds the light values for a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

#: Property -> (light, dark). g: groups; t: energy terms; c: classes. Each stands out from its surface by at least 3:1.
#: Groups and terms stand in one legend, so no term has a color of a group.
COLORS = {
    "surface": ("#ffffff", "#14181d"),
    "ink": ("#1a2027", "#e8ecf1"),
    "muted": ("#5a6673", "#9aa7b4"),
    "grid": ("#dfe4ea", "#2b333c"),
    "good": ("#23774a", "#63c78f"),
    "bad": ("#b3362f", "#f08078"),
    "g0": ("#61748c", "#8fa6c2"),
    "g1": ("#c8551b", "#f2935a"),
    "g2": ("#20808d", "#55c0ce"),
    "g3": ("#7b52ab", "#b795e6"),
    "g4": ("#3c8443", "#79c981"),
    "g5": ("#b03a6a", "#ec88b0"),
    "t0": ("#1d4f91", "#4d8ef0"),
    "t1": ("#5f8fb5", "#92c3e8"),
    "t2": ("#8e2f86", "#dd8ad6"),
    "t3": ("#9a6a00", "#e8c547"),
    "t4": ("#b98a5e", "#d8b48d"),
    "t5": ("#566f1f", "#8fb03c"),
    "t6": ("#7f9a45", "#b3cd78"),
    "t7": ("#4f4f4f", "#c9c9c9"),
    "t8": ("#a33b3b", "#e88a8a"),
    "c0": ("#28699c", "#5ba5dd"),
    "c1": ("#c8551b", "#f2935a"),
    "c2": ("#3c8443", "#79c981"),
    "c3": ("#b0342f", "#f07a72"),
    "c4": ("#7b52ab", "#b795e6"),
    "c5": ("#7d5a3c", "#cfa27c"),
    "c6": ("#c0408f", "#f08fcb"),
    "c7": ("#66717d", "#a9b4c0"),
    "c8": ("#857c14", "#d3cb57"),
    "c9": ("#14808c", "#4fc8d6"),
    "heat": ("#d9682f", "#f2935a"),
}
GROUP_COLORS = 6
CLASS_COLORS = 10
#: Width of a file with several panels, and what lies between two of them.
PAGE, GAP = 1050.0, 30.0

FONT = "ui-sans-serif, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def color(name: str) -> str:
    """``var(--name)``."""
    assert name in COLORS, name
    return f"var(--{name})"


def group_color(index: int) -> str:
    """The color of a group; repeats after six, where labels carry the difference alone."""
    return color(f"g{index % GROUP_COLORS}")


def class_color(index: int) -> str:
    """The color of a class; repeats after ten."""
    return color(f"c{index % CLASS_COLORS}")


class Canvas:
    """Shapes in user units, 1 unit = 1 CSS pixel at full size."""

    def __init__(self, width: float, title: str, description: str) -> None:
        self.width = width
        self.height = 0.0
        self.title = title
        self.description = description
        self._parts: list[str] = []

    def rect(self, x: float, y: float, w: float, h: float, fill: str, *, opacity: float = 1, tip: str = "") -> None:
        shape = f'x="{_n(x)}" y="{_n(y)}" width="{_n(max(w, 0))}" height="{_n(h)}" fill="{fill}"'
        self._add("rect", shape + ("" if opacity == 1 else f' fill-opacity="{_n(opacity)}"'), tip)

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        stroke: str,
        *,
        width: float = 1,
        dash: str = "",
        tip: str = "",
    ) -> None:
        shape = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" stroke="{stroke}" stroke-width="{_n(width)}"'
        self._add("line", shape + (f' stroke-dasharray="{dash}"' if dash else ""), tip)

    def circle(self, x: float, y: float, r: float, fill: str, *, stroke: str = "none", tip: str = "") -> None:
        self._add("circle", f'cx="{_n(x)}" cy="{_n(y)}" r="{_n(r)}" fill="{fill}" stroke="{stroke}"', tip)

    def path(
        self,
        points: Sequence[tuple[float, float]],
        *,
        stroke: str = "none",
        fill: str = "none",
        opacity: float = 1,
        width: float = 1.6,
        dash: str = "",
        closed: bool = False,
    ) -> None:
        steps = " ".join(f"{'ML'[i > 0]}{_n(x)} {_n(y)}" for i, (x, y) in enumerate(points))
        shape = f'd="{steps}{" Z" if closed else ""}" stroke="{stroke}" fill="{fill}" stroke-width="{_n(width)}"'
        shape += ' stroke-linejoin="round"' + (f' stroke-dasharray="{dash}"' if dash else "")
        self._add("path", shape + ("" if opacity == 1 else f' fill-opacity="{_n(opacity)}"'), "")

    def dots(self, places: Sequence[tuple[float, float]], radius: float, fill: str) -> None:
        """Many dots as one shape: lines without length and with round ends, ten characters each."""
        steps = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)
        self._add("path", f'd="{steps}" stroke="{fill}" stroke-width="{_n(2 * radius)}" stroke-linecap="round"', "")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: str = "start",
        fill: str = "var(--ink)",
        size: float = 12,
        weight: int = 400,
    ) -> None:
        style = f'text-anchor="{anchor}" fill="{fill}" font-size="{_n(size)}"'
        style += f' font-weight="{weight}"' if weight != 400 else ""
        self._parts.append(f'<text x="{_n(x)}" y="{_n(y)}" {style}>{escape(text)}</text>')

    def _add(self, tag: str, attributes: str, tip: str) -> None:
        inner = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(f"<{tag} {attributes}>{inner}</{tag}>" if inner else f"<{tag} {attributes}/>")

    def inner(self) -> str:
        """The shapes alone, to be placed in another drawing."""
        return "".join(self._parts)

    def inline(self, identity: str) -> str:
        """For a page: scales with its box; ``identity`` makes the ids of title and description unique."""
        return (
            f'<svg role="img" viewBox="0 0 {_n(self.width)} {_n(self.height)}" style="max-width:{_n(self.width)}px" '
            f'aria-labelledby="{identity}-t {identity}-d" font-family="{FONT}">'
            f'<title id="{identity}-t">{escape(self.title)}</title>'
            f'<desc id="{identity}-d">{escape(self.description)}</desc>{self.inner()}</svg>'
        )


def standalone(title: str, description: str, legend: Sequence[tuple[str, str]], panels: Sequence[Canvas]) -> str:
    """One SVG file: title, legend and panels, as many in a row as a printed page holds, in the light colors."""
    widest = max(panel.width for panel in panels)
    columns = min(len(panels), max(1, int((PAGE + GAP) // (widest + GAP))))
    width = columns * (widest + GAP) - GAP
    head = Canvas(width, title, description)
    head.text(0, 16, title, size=14, weight=600)
    x, y = 0.0, 36.0
    for label, fill in legend:
        if x and x + 20 + 6.6 * len(label) > width:
            x, y = 0.0, y + 18
        head.rect(x, y - 9, 11, 11, fill)
        head.text(x + 16, y, label)
        x += 32 + 6.6 * len(label)
    top = y + 12 if legend else 26.0
    placed = []
    for start in range(0, len(panels), columns):
        row = panels[start : start + columns]
        for column, panel in enumerate(row):
            x = column * (widest + GAP)
            placed.append(f'<g transform="translate({_n(x)} {_n(top)})">{panel.inner()}</g>')
        top += max(panel.height for panel in row) + 14
    values = ";".join(f"--{name}:{light}" for name, (light, _) in COLORS.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_n(width + 32)}" height="{_n(top + 32)}" '
        f'viewBox="-16 -16 {_n(width + 32)} {_n(top + 32)}" font-family="{FONT}"><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc><style>svg{{{values}}}</style>"
        '<rect x="-16" y="-16" width="100%" height="100%" fill="var(--surface)"/>'
        f"{head.inner()}{''.join(placed)}</svg>\n"
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most ``most`` round numbers within ``[low, high]``: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    start = math.ceil(low / step - 1e-9)
    end = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(start, end + 1)]


def _n(value: float) -> str:
    """A coordinate: two decimals are a fiftieth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"
