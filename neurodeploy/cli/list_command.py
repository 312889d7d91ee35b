"""``neurodeploy list``: what there is to name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from neurodeploy.cli.output import emit, output_options


@click.command("list", short_help="List models, targets, profiles, datasets or passes.")
@click.argument("what", type=click.Choice(["models", "targets", "profiles", "datasets", "passes"]))
@click.option("--sources", is_flag=True, help="With profiles: every price and limit with its source.")
@output_options
def command(what: str, sources: bool, as_json: bool, quiet: bool) -> None:
    """Print the names that other commands take.

    Example: neurodeploy list profiles --sources
    """
    if sources and what != "profiles":
        raise click.UsageError(f"--sources goes with profiles, not with {what}")
    if what == "profiles":
        result = _profiles(with_sources=sources)
        emit(
            "list", result, as_json, _sources_text if sources else _text(("name", "chip", "scope", "priced", "unknown"))
        )
        return
    lists: dict[str, tuple[Callable[[], dict[str, Any]], tuple[str, ...]]] = {
        "models": (_models, ("name", "net", "dataset", "method", "epochs")),
        "targets": (_targets, ("name", "arithmetic", "profile", "title")),
        "datasets": (_datasets, ("name", "shape", "classes", "train", "test", "note")),
        "passes": (_passes, ("name", "summary")),
    }
    make, columns = lists[what]
    emit("list", make(), as_json, _text(columns))


def _models() -> dict[str, Any]:
    from neurodeploy.config.recipe import load_recipe, recipe_names

    rows = []
    for name in recipe_names():
        recipe = load_recipe(name)
        loss = recipe.loss
        method = "+".join(word for word, term in (("rmp", loss.rmp), ("laf", loss.laf)) if term is not None)
        rows.append(
            {
                "name": name,
                "net": recipe.net.name,
                "dataset": recipe.data.name,
                "method": method or "vanilla",
                "epochs": recipe.train.epochs,
            }
        )
    return {"what": "models", "items": rows}


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


def _datasets() -> dict[str, Any]:
    from neurodeploy.data import describe, names

    rows = []
    for name in names():
        info = describe(name)
        rows.append(
            {
                "name": name,
                "shape": "x".join(str(size) for size in info.shape),
                "classes": info.classes,
                "train": info.samples["train"],
                "test": info.samples["test"],
                "note": info.note,
            }
        )
    return {"what": "datasets", "items": rows}


def _passes() -> dict[str, Any]:
    from neurodeploy.passes.pipeline import PASSES

    return {"what": "passes", "items": [{"name": name, "summary": step.summary} for name, step in PASSES.items()]}


def _profiles(*, with_sources: bool) -> dict[str, Any]:
    from neurodeploy.config.profile import Price, load_profile, profile_names, profile_schema

    rows = []
    for name in profile_names():
        profile = load_profile(name)
        quantities = list(profile.quantities())
        prices = [q for key, q in quantities if isinstance(q, Price) and key.startswith("energy.")]
        row: dict[str, Any] = {
            "name": name,
            "chip": profile.chip.name,
            "scope": profile.energy.scope,
            "priced": sum(price.known for price in prices),
            "unknown": sum(not price.known for price in prices),
        }
        if with_sources:
            row["references"] = profile.references
            row["numbers"] = [{"key": key, **q.model_dump(exclude_defaults=True)} for key, q in quantities]
        rows.append(row)
    result: dict[str, Any] = {"what": "profiles", "items": rows}
    if not with_sources:
        result["schema"] = profile_schema()
    return result


def _text(columns: tuple[str, ...]) -> Callable[[dict[str, Any]], str]:
    from neurodeploy.reporting.text import table

    return lambda result: table("", columns, [[row[column] for column in columns] for row in result["items"]])


def _sources_text(result: dict[str, Any]) -> str:
    """One table for each chip: number, value with range, unit, basis, how it was read, confidence, source."""
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
                number.get("source") or number.get("note", ""),
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
