"""Our own figures as PNG, with Pillow: the SVG that :mod:`neurodeploy.reporting.svg` writes, and no other.

Read are ``rect``, ``line``, ``circle``, ``path`` of straight lines and of dots, ``text``, and ``g`` that moves. Colors
are the light ones. Everything is drawn at twice the size and scaled down, which smooths edges. Text is set in DejaVu
Sans or Liberation Sans where the system has them, else in Pillow's own font, which lacks some signs: they are spelled.
"""

from __future__ import annotations

import io
import math
import re
from functools import cache
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from neurodeploy.reporting.svg import COLORS

#: Pixels for one unit of the drawing: 2 is sharp at 192 dots per inch.
SCALE = 2
_SMOOTH = 2
_SVG = "{http://www.w3.org/2000/svg}"
_FONTS = {
    400: ("DejaVuSans.ttf", "LiberationSans-Regular.ttf"),
    600: ("DejaVuSans-Bold.ttf", "LiberationSans-Bold.ttf"),
}
_SPELLED = {"µ": "u", "≥": ">=", "≤": "<=", "−": "-", "·": ".", "×": "x", "²": "^2", "…": "...", "–": "-", "|": "|"}


def png(svg: str, scale: float = SCALE) -> bytes:
    """The drawing as the bytes of a PNG file, ``scale`` pixels for each of its units."""
    from PIL import Image, ImageDraw

    root = ElementTree.fromstring(svg)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    size = (round(width * scale * _SMOOTH), round(height * scale * _SMOOTH))
    image = Image.new("RGB", size, COLORS["surface"][0])
    _children(ImageDraw.Draw(image, "RGBA"), root, scale * _SMOOTH, -left, -top)
    image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "PNG", dpi=(96 * scale, 96 * scale))
    return stream.getvalue()


def _children(draw: Any, parent: Any, scale: float, x: float, y: float) -> None:
    """Draw everything in ``parent``, whose origin is at ``(x, y)`` units."""
    for element in parent:
        tag, values = element.tag.removeprefix(_SVG), element.attrib

        def at(name: str, values: Any = values, offset: float = 0.0) -> float:
            return (float(values[name]) + offset) * scale

        if tag == "g":
            moved = re.fullmatch(r"translate\((\S+) (\S+)\)", values["transform"])
            assert moved is not None, values["transform"]
            _children(draw, element, scale, x + float(moved[1]), y + float(moved[2]))
        elif tag == "rect" and values["width"] != "100%":  # the whole surface is painted already
            corner = (at("x", offset=x), at("y", offset=y))
            if float(values["width"]) > 0:
                end = (corner[0] + at("width") - 1, corner[1] + at("height") - 1)
                draw.rectangle((*corner, max(end[0], corner[0]), max(end[1], corner[1])), fill=_paint(values, "fill"))
        elif tag == "line":
            ends = [(at("x1", offset=x), at("y1", offset=y)), (at("x2", offset=x), at("y2", offset=y))]
            _strokes(draw, ends, values, scale)
        elif tag == "circle":
            r, middle = at("r"), (at("cx", offset=x), at("cy", offset=y))
            box = (middle[0] - r, middle[1] - r, middle[0] + r, middle[1] + r)
            draw.ellipse(box, fill=_paint(values, "fill"), outline=_paint(values, "stroke"), width=round(scale))
        elif tag == "path":
            _path(draw, values, scale, x, y)
        elif tag == "text":
            _text(draw, element, scale, x, y)
        else:
            assert tag in ("rect", "title", "desc", "style"), tag


def _paint(values: Any, name: str) -> tuple[int, int, int, int] | None:
    value = values.get(name, "none")
    if value == "none":
        return None
    named = re.fullmatch(r"var\(--(\w+)\)", value)
    text = COLORS[named[1]][0] if named else value
    opacity = float(values.get("fill-opacity", 1)) if name == "fill" else 1.0
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16), round(255 * opacity)


def _path(draw: Any, values: Any, scale: float, x: float, y: float) -> None:
    drawn = values["d"]
    places = [((float(a) + x) * scale, (float(b) + y) * scale) for a, b in re.findall(r"[ML](\S+?) ([\d.e-]+)", drawn)]
    if drawn.endswith("h0"):
        r, fill = float(values["stroke-width"]) * scale / 2, _paint(values, "stroke")
        for a, b in places:
            draw.ellipse((a - r, b - r, a + r, b + r), fill=fill)
        return
    fill = _paint(values, "fill")
    if fill is not None and len(places) > 2:
        draw.polygon(places, fill=fill)
    _strokes(draw, [*places, places[0]] if drawn.endswith("Z") else places, values, scale)


def _strokes(draw: Any, places: list[tuple[float, float]], values: Any, scale: float) -> None:
    stroke = _paint(values, "stroke")
    if stroke is None:
        return
    width = max(1, round(float(values.get("stroke-width", 1)) * scale))
    dashes = [float(part) * scale for part in values.get("stroke-dasharray", "").split()]
    if not dashes:
        draw.line(places, fill=stroke, width=width, joint="curve")
        return
    on, left, index = True, dashes[0], 0
    for (x1, y1), (x2, y2) in pairwise(places):
        length, done = math.dist((x1, y1), (x2, y2)), 0.0
        while done < length:
            step = min(left, length - done)
            if on:
                ends = [
                    (x1 + (x2 - x1) * part, y1 + (y2 - y1) * part) for part in (done / length, (done + step) / length)
                ]
                draw.line(ends, fill=stroke, width=width)
            done, left = done + step, left - step
            if left <= 0:
                on, index = not on, (index + 1) % len(dashes)
                left = dashes[index]


def _text(draw: Any, element: Any, scale: float, x: float, y: float) -> None:
    values = element.attrib
    font, whole = _font(
        600 if int(values.get("font-weight", 400)) >= 600 else 400, round(float(values["font-size"]) * scale)
    )
    text = element.text or ""
    if not whole:
        text = "".join(_SPELLED.get(sign, sign if sign.isascii() or sign == "±" else "?") for sign in text)
    place = ((float(values["x"]) + x) * scale, (float(values["y"]) + y) * scale)
    width = draw.textlength(text, font=font)
    left = {"start": 0.0, "middle": width / 2, "end": width}[values["text-anchor"]]
    ascent = font.getmetrics()[0] if hasattr(font, "getmetrics") else 10
    draw.text((place[0] - left, place[1] - ascent), text, font=font, fill=_paint(values, "fill"))


@cache
def _font(weight: int, size: int) -> tuple[Any, bool]:
    """A font, and whether it has every sign that our figures use."""
    from PIL import ImageFont

    for name in _FONTS[weight]:
        try:
            return ImageFont.truetype(name, round(size * 0.92)), True  # wider than the fonts of a browser
        except OSError:
            continue
    try:
        return ImageFont.load_default(size), False
    except TypeError:  # Pillow before 10.1 has one size alone
        return ImageFont.load_default(), False
