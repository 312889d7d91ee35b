"""One self-contained page: no request leaves it, light and dark, on paper and on a phone."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from neurodeploy.files import jsonable
from neurodeploy.reporting.figures import Figure, figures
from neurodeploy.reporting.first_screen import answers
from neurodeploy.reporting.model import Report
from neurodeploy.reporting.svg import COLORS
from neurodeploy.reporting.tables import tables


def page(report: Report) -> str:
    """The whole HTML document."""
    made = figures(report)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            answers=answers(report),
            figures={name: _panels(figure) for name, figure in made.items()},
            meta=made,
            tables=tables(report),
            css=_palette() + _text("report.css"),
            js=_text("report.js"),
            # `</script>` inside the data would end it: the three characters that open a tag or an entity are escaped.
            data=json.dumps(report.to_json(), default=jsonable)
            .replace("&", "\\u0026")
            .replace("<", "\\u003c")
            .replace(">", "\\u003e"),
        )
    )


def _panels(figure: Figure) -> list[str]:
    return [panel.inline(f"{figure.name}-{index}") for index, panel in enumerate(figure.panels)]


def _palette() -> str:
    light, dark = (";".join(f"--{name}:{pair[k]}" for name, pair in COLORS.items()) for k in (0, 1))
    # Paper is white whatever the screen prefers.
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _text(name: str) -> str:
    return (resources.files("neurodeploy.reporting") / name).read_text(encoding="utf-8")


@cache
def _environment() -> Any:
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=DictLoader({"report.html.j2": _text("report.html.j2")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only what this package wrote itself (SVG with escaped text, its CSS and script, escaped JSON) passes unescaped.
    environment.filters["ours"] = Markup
    return environment
