"""A recipe: one TOML file that says everything about a training run.

``load_recipe`` follows ``extends``, applies ``--set`` overrides, and checks the result: every wrong key is reported
at once (ND102, exit 2). The keys are in ``config/recipe_sections.py``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, Field, ValidationError

from neurodeploy.config.recipe_sections import (
    Data,
    Losses,
    Metric,
    Net,
    Neuron,
    Norm,
    Published,
    Readout,
    RepAct,
    Section,
    Train,
)
from neurodeploy.diagnostics import Finding, UsageError, nearest

if sys.version_info >= (3, 11):
    from importlib.resources.abc import Traversable

    import tomllib
else:
    import tomli as tomllib

    if TYPE_CHECKING:
        from importlib.abc import Traversable

#: Datasets of events; their samples have frames.
EVENT_DATASETS = ("nmnist", "cifar10-dvs")

#: Endings that make a word a path; see :func:`is_path`.
PATH_ENDINGS = (".toml", ".nir", ".net", ".onnx", ".npz")


class Recipe(Section):
    """A resolved recipe: every key has its value, ``extends`` is gone. Frozen.

    ``name`` is where it came from (``digits/conv-rmp`` or a file); it is not part of the file and not compared
    by :meth:`diff`.
    """

    name: str = Field("", exclude=True, repr=False)
    seed: int = Field(0, ge=0, lt=2**63)
    timesteps: int = Field(4, ge=1, le=65536)
    data: Data
    net: Net
    neuron: Neuron = Field(default_factory=lambda: Neuron.model_validate({}))
    norm: Norm = Field(default_factory=lambda: Norm.model_validate({}))
    readout: Readout = Readout()
    train: Train
    loss: Losses = Losses()
    repact: RepAct = RepAct()
    metric: Metric = Field(default_factory=lambda: Metric.model_validate({}))
    published: Published | None = None

    def flat(self) -> dict[str, Any]:
        """Dotted key -> value, without the keys that are absent and without ``published``, which trains nothing."""
        return _flatten(self.model_dump(exclude_none=True, exclude={"published"}))

    def diff(self, other: Recipe) -> list[tuple[str, Any, Any]]:
        """``(key, here, there)`` for every key that differs; None where a key is absent."""
        here, there = self.flat(), other.flat()
        keys = list(here) + [key for key in there if key not in here]
        return [(key, here.get(key), there.get(key)) for key in keys if here.get(key) != there.get(key)]

    def with_seed(self, seed: int) -> Recipe:
        """The same recipe with another seed."""
        return self.model_copy(update={"seed": seed})

    def to_toml(self) -> str:
        """The resolved recipe as TOML; ``load_recipe`` of it gives the same recipe."""
        return _toml(self.model_dump(exclude_none=True))


def is_path(word: str, folder: Path | None = None) -> bool:
    """Whether a word is a path: it ends like a file of ours, starts with ``.``, ``/`` or ``~``, or exists."""
    return word.endswith(PATH_ENDINGS) or word.startswith((".", "/", "~")) or ((folder or Path()) / word).exists()


def recipe_names() -> list[str]:
    """The recipes that ship: ``<dataset>/<net>-<method>``, without the bases (``_rmp``), which are only extended."""
    return sorted(
        f"{folder.name}/{entry.name[: -len('.toml')]}"
        for folder in _shipped().iterdir()
        if folder.is_dir()
        for entry in folder.iterdir()
        if entry.name.endswith(".toml") and not entry.name.startswith("_")
    )


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, follow ``extends``, apply ``KEY=VALUE`` overrides, check everything.

    Args:
        name_or_path: A shipped name (``digits/conv-rmp``) or a path, see :func:`is_path`.
        overrides: ``train.epochs=3``: a dotted key and a TOML value; a bare word is a string.

    Raises:
        UsageError: ND101 for an unknown name, ND102 with every wrong key of an unreadable or wrong recipe.
    """
    place = _find(str(name_or_path), None)
    table = _resolve(place, ())
    if overrides:
        _override(table, overrides)
    label = place.label + (" with --set" if overrides else "")
    # A `name` at the top of a file is no key of the format; the field of that name is ours.
    unknown = ["name"] if "name" in table else []
    table.pop("name", None)
    recipe = _checked(table, label, unknown)
    return recipe.model_copy(update={"name": place.label})


@dataclass(frozen=True)
class _Place:
    """A recipe file: what messages call it, the file, and the folder where its ``extends`` looks."""

    label: str
    file: Traversable
    folder: Traversable


def _shipped() -> Traversable:
    return resources.files("neurodeploy.shipped.models")


def _find(word: str, folder: Traversable | None, named_in: str = "recipe") -> _Place:
    """The file behind a name or path; ``folder`` is that of the recipe that extends, ``named_in``, None at the top."""
    if folder is not None and "/" not in word and (folder / f"{word}.toml").is_file():
        sibling = folder / f"{word}.toml"
        return _Place(str(sibling), sibling, folder)
    base = folder if isinstance(folder, Path) else None
    if is_path(word, base):
        file = (base or Path()) / Path(word).expanduser()
        if file.is_dir():
            raise UsageError("ND102", "a folder is not a recipe", where=str(file), fix=f"try {file / 'recipe.toml'}")
        if not file.is_file():
            fix = "check the path; `neurodeploy list models` prints the recipes that ship"
            raise UsageError("ND102", "the recipe does not exist", where=str(file), fix=fix)
        return _Place(str(file), file, file.parent)
    names = recipe_names()
    dataset, _, name = word.partition("/")
    home = _shipped() / dataset
    # A base is found by the recipes that extend it, and by nobody else: it cannot be trained.
    is_base = folder is not None and re.fullmatch("_[a-z0-9-]+", name) and (home / f"{name}.toml").is_file()
    if word not in names and not is_base:
        raise UsageError("ND101", f"no such recipe: {word}", where=named_in, fix=nearest(word, names))
    return _Place(word, home / f"{name}.toml", home)


def _resolve(place: _Place, seen: tuple[str, ...]) -> dict[str, Any]:
    """The table of a recipe laid over the tables it extends, without their ``published``: a figure is of one recipe."""
    if str(place.file) in seen:
        chain = " -> ".join([*seen, str(place.file)])
        raise UsageError("ND102", f"`extends` goes in a circle: {chain}", where=place.label, fix="break the circle")
    try:
        table = tomllib.loads(place.file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError("ND102", f"not a TOML file: {error}", where=place.label, fix="correct the file") from error
    parent = table.pop("extends", None)
    if parent is None:
        return table
    if not isinstance(parent, str) or not parent:
        what = "`extends` is empty" if parent == "" else "`extends` is not a string"
        raise UsageError("ND102", what, where=place.label, fix='for example extends = "digits/conv-vanilla"')
    below = _resolve(_find(parent, place.folder, f"extends in {place.label}"), (*seen, str(place.file)))
    below.pop("published", None)
    return _laid_over(below, table)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _override(table: dict[str, Any], overrides: Iterable[str]) -> None:
    for text in overrides:
        key, equals, value = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in parts):
            raise UsageError("ND102", f"not KEY=VALUE: {text}", where="--set", fix="for example --set train.epochs=3")
        if parts == ["extends"]:
            raise UsageError("ND102", "`extends` cannot be set", where="--set", fix="name the other recipe instead")
        inner = table
        for part in parts[:-1]:
            if not isinstance(inner.get(part), dict):
                inner[part] = {}
            inner = inner[part]
        inner[parts[-1]] = _value(value.strip())


def _value(text: str) -> Any:
    """A TOML value; what is none is a string."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if list(parsed) == ["value"] else text


def _checked(table: dict[str, Any], label: str, unknown: Sequence[str]) -> Recipe:
    findings = [_unknown_key(key) for key in unknown]
    try:
        recipe = Recipe.model_validate(table)
    except ValidationError as error:
        findings += [_finding(problem) for problem in error.errors()]
    else:
        findings += [
            Finding("ND102", "error", key, rule, measured=_get(recipe, key), fix=f"it must agree: {rule}")
            for key, rule in _contradictions(recipe)
        ]
    if findings:
        keys = ", ".join(f"`{finding.node}`" for finding in findings)
        count = "1 key is" if len(findings) == 1 else f"{len(findings)} keys are"
        raise UsageError(
            "ND102",
            f"{count} wrong in the recipe: {keys}",
            where=label,
            fix="; ".join(f"{finding.node}: {finding.fix or finding.rule}" for finding in findings),
            findings=findings,
        )
    return recipe


def _get(recipe: Recipe, key: str) -> Any:
    table, _, last = key.partition(".")
    return getattr(getattr(recipe, table), last)


def _contradictions(recipe: Recipe) -> list[tuple[str, str]]:
    """``(key, rule)`` of every key that is right alone and contradicts another."""
    net, data = recipe.net, recipe.data
    residual = net.name.startswith("resnet")
    imagenet_form = net.name in ("resnet18", "resnet34")
    ann = recipe.neuron.kind == "relu"
    own = data.name == "image-folder"
    events = data.name in EVENT_DATASETS
    large = data.name in ("imagenet", "image-folder")
    rules = [
        ("net.pools", net.pools == "early" and net.name != "conv", "only conv has a choice of pools"),
        ("net.block", net.block == "sew" and not residual, f"{net.name} has no residual blocks"),
        ("net.block", net.block == "sew" and ann, 'an ANN has no spikes to add; block = "basic"'),
        ("net.stem", net.stem > 0 and not residual, f"{net.name} has no stem"),
        ("net.head", net.head == "fc256" and net.name != "resnet19", "only resnet19 has that head"),
        ("net.stem_pool", net.stem_pool == "max" and not imagenet_form, f"the stem of {net.name} has no such pool"),
        ("neuron.kind", ann and recipe.timesteps != 1, "an ANN (relu) has timesteps = 1"),
        ("neuron.kind", ann and recipe.loss.rmp is not None, "an ANN (relu) has no potential for [loss.rmp]"),
        ("neuron.kind", ann and recipe.repact.enabled, "an ANN (relu) has no spikes for [repact] to replace"),
        ("norm.kind", ann and recipe.norm.kind == "tdbn", "an ANN (relu) has no threshold; batchnorm or none"),
        ("norm.residual_where", recipe.norm.residual_where != "all" and recipe.norm.residual_alpha == 1,
         "it says where norm.residual_alpha holds, which is 1"),
        ("data.folder", own and not data.folder, "image-folder needs the folder"),
        ("data.classes", own and data.classes < 2, "image-folder needs the number of classes"),
        ("data.size", own and data.size < 1, "image-folder needs the size of its samples"),
        ("data.folder", bool(data.folder) and not own, "only image-folder has a folder"),
        ("data.classes", bool(data.classes) and not own, f"{data.name} has its own number of classes"),
        ("data.size", bool(data.size) and not own and not events, f"{data.name} has its own size"),
        ("data.frames", data.frames > 0 and not events, f"{data.name} holds no events"),
        ("data.frames", events and not data.stack and data.frames not in (0, recipe.timesteps),
         f"one frame per timestep ({recipe.timesteps}), or stack = true"),
        ("data.slice", data.slice != "count" and not events, f"{data.name} holds no events"),
        ("data.resize", data.resize != "nearest" and not events, f"{data.name} holds no events"),
        ("data.binary", not data.binary and not events, f"{data.name} holds no events"),
        ("data.stack", data.stack and not events, f"{data.name} holds no events"),
        ("data.stack", data.stack and data.frames == 0, "stack needs the number of frames"),
        ("data.augment", data.augment == "roll-flip" and not events, "roll-flip is for events"),
        ("data.augment", data.augment not in ("none", "roll-flip") and events, "events know roll-flip only"),
        ("data.augment", data.augment == "resized-crop-flip" and not large, f"{data.name} has small images"),
    ]  # fmt: skip
    return [(key, rule) for key, wrong, rule in rules if wrong]


def _finding(problem: Any) -> Finding:
    """One line of pydantic's report as a finding."""
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _unknown_key(key)
    if problem["type"] == "missing":
        return Finding("ND102", "error", key, "the key is required", fix="add it")
    value = problem["input"]
    shown = value if isinstance(value, (int, float, str)) else type(value).__name__
    rule = problem["msg"].replace("Input should be", "it must be")
    if problem["type"] == "model_type":
        rule = "it must be a table"
    fix = rule
    if problem["type"] == "literal_error":
        allowed = [str(v) for v in _allowed(key)]
        rule = f"it must be one of {', '.join(allowed)}"
        close = nearest(str(value), allowed)
        fix = close if close.startswith("known") else f"{close} Known: {', '.join(allowed)}"
    return Finding("ND102", "error", key, rule, measured=shown, fix=fix)


def _unknown_key(key: str) -> Finding:
    known = known_keys()
    # `epochs` is most often a `train.epochs` without its table.
    last = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    fix = f"did you mean {' or '.join(last)}?" if last else nearest(key, known)
    return Finding("ND102", "error", key, "no such key", fix=fix)


def known_keys() -> list[str]:
    """Every key of the format, dotted."""

    def keys(section: type[BaseModel], prefix: str) -> list[str]:
        found = []
        for name, field in section.model_fields.items():
            if field.exclude:
                continue
            kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
            inner = next((kind for kind in kinds if issubclass(kind, Section)), None)
            found += keys(inner, f"{prefix}{name}.") if inner else [prefix + name]
        return found

    return ["extends", *keys(Recipe, "")]


def _allowed(key: str) -> tuple[Any, ...]:
    section: Any = Recipe
    *tables, last = key.split(".")
    for table in tables:
        annotation = section.model_fields[table].annotation
        section = next(kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type))
    return get_args(section.model_fields[last].annotation)


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _toml(table: Mapping[str, Any]) -> str:
    """Scalars first, then one ``[dotted.table]`` for each table that has scalars (or nothing) of its own."""
    lines = []

    def write(inner: Mapping[str, Any], name: str) -> None:
        scalars = {key: value for key, value in inner.items() if not isinstance(value, dict)}
        if name and (scalars or not inner):
            lines.extend(["", f"[{name}]"])
        lines.extend(f"{key} = {_scalar(value)}" for key, value in scalars.items())
        for key, value in inner.items():
            if isinstance(value, dict):
                write(value, f"{name}.{key}" if name else key)

    write(table, "")
    return "\n".join(lines).lstrip("\n") + "\n"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
