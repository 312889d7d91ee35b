"""``neurodeploy list``: what there is to name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurodeploy.cli.options import data_root_option
from neurodeploy.cli.output import emit, output_options

if TYPE_CHECKING:
    from neurodeploy.config.recipe_results import RecipeResult


@click.command("list", short_help="List models, targets, profiles, datasets or passes.")
@click.argument("what", type=click.Choice(["models", "targets", "profiles", "datasets", "passes"]))
@click.option("--sources", is_flag=True, help="With profiles: every price and limit with its source.")
@data_root_option
@output_options
def command(what: str, sources: bool, data_root: Path | None, as_json: bool, quiet: bool) -> None:
    """Print the names that other commands take.

    Example: neurodeploy list profiles --sources
    """
    if sources and what != "profiles":
        raise click.UsageError(f"--sources goes with profiles, not with {what}")
    if what == "profiles":
        emit("list", _profiles(with_sources=sources), as_json, _sources_text if sources else _profiles_text)
        return
    if what == "datasets":
        shown = ("name", "shape", "classes", "train", "test", "found", "note")
        emit("list", _datasets(data_root), as_json, _text(shown))
        return
    lists: dict[str, tuple[Callable[[], dict[str, Any]], tuple[str, ...]]] = {
        "models": (_models, ("name", "T", "method", "epochs", "published", "ours")),
        "targets": (_targets, ("name", "arithmetic", "profile", "title")),
        "passes": (_passes, ("name", "summary")),
    }
    make, columns = lists[what]
    emit("list", make(), as_json, _text(columns))


def _models() -> dict[str, Any]:
    from neurodeploy.config.method import method_name
    from neurodeploy.config.recipe import load_recipe, recipe_names
    from neurodeploy.config.recipe_results import recipe_results

    results = recipe_results()
    rows = []
    for name in recipe_names():
        recipe, result = load_recipe(name), results.get(name)
        figure = recipe.published
        rows.append(
            {
                "name": name,
                "net": recipe.net.name,
                "dataset": recipe.data.name,
                "T": recipe.timesteps,
                "method": method_name(recipe),
                "epochs": recipe.train.epochs,
                "published": None if figure is None else _figure(figure.accuracy, figure.std, figure.seeds),
                "ours": "not run" if result is None else _ours(result),
                "published_figure": None if figure is None else figure.model_dump(),
                "result": None if result is None else result.to_json(),
            }
        )
    return {"what": "models", "items": rows}


def _ours(result: RecipeResult) -> str:
    """``87.21 ± 0.14 % (n = 3; data.name cifar10-jpeg, train.epochs 40)``: with every key that the runs changed."""
    std = None if result.accuracy.std is None else 100 * result.accuracy.std
    changed = ", ".join(f"{key} {'absent' if value is None else value}" for key, value in result.changed.items())
    return _figure(100 * result.accuracy.mean, std, len(result.seeds), changed)


def _figure(percent: float, std: float | None, seeds: int | None, more: str = "") -> str:
    spread = "" if std is None else f" ± {std:.2f}"
    told = "; ".join(word for word in (f"n = {seeds}" if seeds else "", more) if word)
    return f"{percent:.2f}{spread} %" + (f" ({told})" if told else "")


def _targets() -> dict[str, Any]:
    from neurodeploy.config.target import TargetSpec
    from neurodeploy.targets.base import load_target, target_names

    specs = [(name, load_target(name).spec) for name in target_names()]
    rows = [
        {
            "name": name,
            "arithmetic": spec.arithmetic,
            "profile": spec.profile,
            "title": spec.title,
            "spec": spec.model_dump(),
        }
        for name, spec in specs
    ]
    return {"what": "targets", "items": rows, "schema": TargetSpec.model_json_schema()}


def _datasets(root: Path | None) -> dict[str, Any]:
    from neurodeploy.data import names
    from neurodeploy.data.catalog import catalog_info, is_found

    rows = []
    for name in names():
        info = catalog_info(name)
        rows.append(
            {
                "name": name,
                # What a recipe has to say (image-folder) is left open here.
                "shape": "x".join(str(size or "?") for size in info.shape),
                "classes": info.classes or None,
                "train": info.samples.get("train"),
                "test": info.samples.get("test"),
                "found": is_found(name, root),
                "note": info.note,
            }
        )
    return {"what": "datasets", "root": None if root is None else str(root), "items": rows}


def _passes() -> dict[str, Any]:
    from neurodeploy.passes.pipeline import PASSES

    return {"what": "passes", "items": [{"name": name, "summary": step.summary} for name, step in PASSES.items()]}


def _profiles(*, with_sources: bool) -> dict[str, Any]:
    from neurodeploy.config.profile import load_profile, profile_names, profile_schema

    rows = []
    for name in profile_names():
        profile = load_profile(name)
        terms = profile.priced()
        row: dict[str, Any] = {
            "name": name,
            "chip": profile.chip.name,
            "kind": profile.chip.kind,
            "year": profile.chip.year,
            "scope": profile.energy.scope,
            "includes": profile.energy.includes,
            **{state: [term for term in terms if terms[term] == state] for state in ("priced", "inside", "unknown")},
        }
        if with_sources:
            row["references"] = profile.references
            row["numbers"] = [{"key": key, **q.model_dump(exclude_defaults=True)} for key, q in profile.quantities()]
        rows.append(row)
    result: dict[str, Any] = {"what": "profiles", "items": rows}
    if not with_sources:
        result["schema"] = profile_schema()
    return result


def _text(columns: tuple[str, ...]) -> Callable[[dict[str, Any]], str]:
    from neurodeploy.reporting.text import table

    return lambda result: table("", columns, [[row[column] for column in columns] for row in result["items"]])


#: Terms that are read as one where all of them are priced, or all unknown.
_TOGETHER = {"neuron": ("neuron_active", "neuron_inactive"), "hop": ("hop_x", "hop_y")}
#: A longer list of unknown terms is not written out.
_UNKNOWN_SHOWN = 5


def _profiles_text(result: dict[str, Any]) -> str:
    """One line a profile: chip, year, scope, the terms with a price of their own, and those that nobody published."""
    from neurodeploy.reporting.text import table

    rows = []
    for row in result["items"]:
        priced, unknown = _terms(row["priced"]), _terms(row["unknown"])
        if len(unknown) > _UNKNOWN_SHOWN:
            unknown = ["every other term" if priced else "every term"]
        year = None if row["year"] is None else str(row["year"])
        rows.append((row["name"], row["chip"], year, row["scope"], ", ".join(priced) or "-", ", ".join(unknown) or "-"))
    return table("", ("name", "chip", "year", "scope", "priced", "unknown"), rows, width=180)


def _terms(terms: list[str]) -> list[str]:
    for name, parts in _TOGETHER.items():
        if all(part in terms for part in parts):
            terms = [name if term == parts[0] else term for term in terms if term not in parts[1:]]
    return terms


def _sources_text(result: dict[str, Any]) -> str:
    """One table for each chip: number, value with range, unit, basis, how it was read, confidence, source, formula."""
    from neurodeploy.reporting.text import table

    blocks = []
    for row in result["items"]:
        numbers = [
            (
                number["key"],
                _value(number),
                number.get("unit", ""),
                number.get("basis", ""),
                number.get("read", ""),
                number.get("confidence", ""),
                _source(number),
            )
            for number in row["numbers"]
        ]
        columns = ("number", "value [low, high]", "unit", "basis", "read", "confidence", "source")
        references = "\n".join(f"  {key}: {title}" for key, title in row["references"].items())
        blocks.append(table(f"{row['name']}: {row['chip']}", columns, numbers, width=160) + "\n" + references)
    return "\n\n".join(blocks)


def _value(number: dict[str, Any]) -> str:
    if number.get("unknown"):
        return "unknown"
    value = number["value"]
    shown = f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value).lower()
    bound = "≥ " if number.get("bound") == "lower" else ""
    inside = f" (inside {number['inside']})" if "inside" in number else ""
    if "low" in number or "high" in number:
        low, high = number.get("low", value), number.get("high", value)
        return f"{bound}{shown} [{low:g}, {high:g}]{inside}"
    return f"{bound}{shown}{inside}"


def _source(number: dict[str, Any]) -> str:
    """Where a number stands, and how it follows from what stands there; why it is unknown, where it is."""
    source = str(number.get("source") or number.get("note", ""))
    ends = {"value": "formula", "low": "formula_low", "high": "formula_high"}
    formulas = [f"{name} = {number[key]}" for name, key in ends.items() if key in number]
    if formulas:
        given = [f"{name} {value:.10g}" for name, value in number.get("given", {}).items()]
        source += f" [{'; '.join(formulas)}" + (f"; with {', '.join(given)}" if given else "") + "]"
    return source
