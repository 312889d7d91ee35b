"""``neurodeploy demo``: the whole line on scikit-learn's digits, one command after the other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from neurodeploy.cli.output import emit, output_options

#: Name of the run in the demo's folder -> recipe.
RECIPES = {"vanilla": "digits/conv-vanilla", "rmp": "digits/conv-rmp"}
TARGET = "loihi2"
#: Golden samples that Lava replays in the demo: it needs a second for a few of them.
LAVA_SAMPLES = 20


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for the two runs, their artifacts and report.html.",
)
@output_options
def command(out: Path, as_json: bool, quiet: bool) -> int:
    """Train vanilla and RMP on digits, check, export for Loihi 2, verify, simulate and compare, in two minutes.

    Everything it does is a command that you can type; each is printed before it runs. A second demo reuses the runs.
    """
    from neurodeploy.cli import render
    from neurodeploy.cli.train_command import train_shown
    from neurodeploy.config.recipe import load_recipe
    from neurodeploy.data import load
    from neurodeploy.files import write_text
    from neurodeploy.reporting import report
    from neurodeploy.reporting.html import page
    from neurodeploy.reporting.text import report_text
    from neurodeploy.sim.run import simulate
    from neurodeploy.targets.check import check
    from neurodeploy.targets.export import export
    from neurodeploy.verification import lava
    from neurodeploy.verification.verify import verify

    started = time.perf_counter()
    say = _Narrator(as_json, quiet)
    result: dict[str, Any] = {"out": str(out), "runs": {}, "exports": {}}
    for name, recipe in RECIPES.items():
        say.step(f"train {recipe} --out {out / name}")
        result["runs"][name] = train_shown(load_recipe(recipe), out / name, quiet=quiet or as_json)
    for name in RECIPES:
        run = out / name
        say.step(f"check {run} --target {TARGET}")
        result["check"] = check(run, TARGET)
        say.show(render.check_text(result["check"]))
        say.step(f"export {run} --target {TARGET}")
        result["exports"][name] = export(run, TARGET).result
        say.show(render.export_text(result["exports"][name]))
    artifact = out / "rmp" / f"export-{TARGET}"
    oracles = ["interpreter", "engine"]
    say.step(f"verify {artifact} " + " ".join(f"--with {oracle}" for oracle in oracles))
    found = verify(artifact, oracles)
    if lava.find_lava_python() is None:
        say.show("Lava is not here (Python 3.10 with lava-nc): `verify --with lava` is left out. See README.")
    else:
        say.step(f"verify {artifact} --with lava --samples {LAVA_SAMPLES}")
        found |= verify(artifact, ["lava"], LAVA_SAMPLES)
    result["verify"] = {name: row.to_json() for name, row in found.items()}
    say.show(render.verify_text(result["verify"]))
    say.step(f"simulate {artifact} --data digits")
    digits = load("digits", "test")
    trace = simulate(artifact, digits.x, digits.y)
    result["simulate"] = trace.to_json()
    say.show(render.simulate_text(result["simulate"]))
    html = out / "report.html"
    say.step(f"report {out / 'vanilla'} {out / 'rmp'} --html {html}")
    made = report(out / "vanilla", out / "rmp", target=TARGET)
    write_text(html, page(made))
    result["report"] = {"html": str(html), **made.to_json()}
    result["seconds"] = round(time.perf_counter() - started, 1)
    say.show(report_text(made))
    emit("demo", result, as_json, lambda r: f"\ndone in {r['seconds']:.0f} s; open {r['report']['html']} in a browser")
    return 0 if all(row["equal"] for row in result["verify"].values()) else 4


class _Narrator:
    """Prints each command before it runs, and its result after; silent where only JSON is wanted."""

    def __init__(self, as_json: bool, quiet: bool) -> None:
        self.as_json, self.quiet = as_json, quiet

    def step(self, words: str) -> None:
        if not self.quiet:
            click.echo(f"\n$ neurodeploy {words}", err=self.as_json)

    def show(self, text: str) -> None:
        if not self.as_json:
            click.echo(text)
