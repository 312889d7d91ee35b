"""A recipe: one TOML file that says everything about a training run.

``load_recipe`` follows ``extends``, applies ``--set`` overrides, and checks the result: every wrong key is reported
at once (ND102, exit 2), and what the format names but this version does not build is refused by name (ND501, exit 3).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neurodeploy.diagnostics import Finding, UnsupportedError, UsageError, nearest

if sys.version_info >= (3, 11):
    from importlib.resources.abc import Traversable

    import tomllib
else:
    import tomli as tomllib

    if TYPE_CHECKING:
        from importlib.abc import Traversable

#: Endings that make a word a path; see :func:`is_path`.
PATH_ENDINGS = (".toml", ".nir", ".net", ".onnx", ".npz")


class _Section(BaseModel):
    """A table of the recipe: frozen, unknown keys refused, no silent conversion ("3" is not 3)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(_Section):
    """``[data]``: dataset, samples per step, augmentation of training samples."""

    name: Literal[
        "digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "imagenet", "nmnist", "cifar10-dvs", "dvs-gesture"
    ]
    batch: int = Field(128, ge=1)
    augment: Literal["none", "crop-flip", "cifar10-policy", "roll-flip"] = "none"


class Net(_Section):
    """``[net]``: which network; ``width`` is the channels of the first convolution, or the mlp's hidden features."""

    name: Literal["conv", "mlp", "resnet20", "resnet20-slim", "resnet19", "vgg16", "resnet18", "resnet34"]
    width: int = Field(16, ge=1)


class Neuron(_Section):
    """``[neuron]``: decay τ per step, firing threshold, surrogate gradient of the spike."""

    tau: float = Field(0.25, ge=0, le=1)
    v_threshold: float = Field(0.5, gt=0)
    surrogate: Literal["tanh", "ste", "rectangular", "triangle"] = "tanh"


class Norm(_Section):
    """``[norm]``: normalization before each hidden neuron."""

    kind: Literal["tdbn", "batchnorm", "none"] = "tdbn"
    alpha: float = Field(1.0, gt=0)


class Readout(_Section):
    """``[readout]``: the output neuron; ``integrate`` is Eq. 4, u[t] = u[t−1] + x[t]."""

    kind: Literal["integrate"] = "integrate"


class Train(_Section):
    """``[train]``: epochs and optimizer. ``cosine`` falls to 0 after the last step, by epoch (see training/loop.py)."""

    epochs: int = Field(ge=1)
    lr: float = Field(gt=0)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    precision: Literal["float32", "bf16", "float16"] = "float32"


class CrossEntropyLoss(_Section):
    """``[loss.cross_entropy]``: on the mean over T of the logits, on their sum (Eq. 4 as written), or per step."""

    per: Literal["mean_logits", "sum_logits", "per_step"] = "mean_logits"


class RmpLoss(_Section):
    """``[loss.rmp]``: RMP-Loss, Eq. 8-12. A missing table is vanilla training.

    The paper allows any p > 0; below 1 the gradient at u = o is infinite, so it is refused here.
    """

    k: float = Field(0.1, ge=0)
    p: float = Field(2.0, ge=1)
    schedule: Literal["ramp", "constant"] = "ramp"
    layers: Literal["all", "exclude_first_last"] = "all"


class LafLoss(_Section):
    """``[loss.laf]``: the LAF loss of EnOF-SNN."""

    weight: float = Field(0.1, ge=0)
    temperature: float = Field(1.0, gt=0)
    teacher: str = ""


class Losses(_Section):
    """``[loss.*]``: the terms that are added up."""

    cross_entropy: CrossEntropyLoss = CrossEntropyLoss()
    rmp: RmpLoss | None = None
    laf: LafLoss | None = None


class RepAct(_Section):
    """``[repact]``: ReLU instead of the last spikes (EnOF-SNN Eq. 8)."""

    enabled: bool = False


class Recipe(_Section):
    """A resolved recipe: every key has its value, ``extends`` is gone. Frozen.

    ``name`` is where it came from (``digits/conv-rmp`` or a file); it is not part of the file and not compared
    by :meth:`diff`.
    """

    name: str = Field("", exclude=True, repr=False)
    seed: int = Field(0, ge=0, lt=2**63)
    timesteps: int = Field(4, ge=1)
    data: Data
    net: Net
    neuron: Neuron = Field(default_factory=lambda: Neuron.model_validate({}))
    norm: Norm = Field(default_factory=lambda: Norm.model_validate({}))
    readout: Readout = Readout()
    train: Train
    loss: Losses = Losses()
    repact: RepAct = RepAct()

    def flat(self) -> dict[str, Any]:
        """Dotted key -> value, without the keys that are absent."""
        return _flatten(self.model_dump(exclude_none=True))

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


#: What the format names and this version does not build: key -> (values built, what to do meanwhile).
_BUILT: dict[str, tuple[tuple[Any, ...], str]] = {
    "data.name": (("digits",), 'use data.name = "digits"'),
    "data.augment": (("none",), 'use data.augment = "none"'),
    "net.name": (("conv", "mlp"), 'use net.name = "conv" or "mlp"'),
    "neuron.surrogate": (("tanh",), 'use neuron.surrogate = "tanh"'),
    "norm.kind": (("tdbn",), 'use norm.kind = "tdbn"'),
    "train.optimizer": (("sgd",), 'use train.optimizer = "sgd"'),
    "train.schedule": (("cosine", "constant"), 'use train.schedule = "cosine" or "constant"'),
    "train.precision": (("float32",), 'use train.precision = "float32"'),
    "loss.cross_entropy.per": (("mean_logits", "sum_logits"), 'use loss.cross_entropy.per = "mean_logits"'),
    "repact.enabled": ((False,), "use repact.enabled = false"),
}


def is_path(word: str, folder: Path | None = None) -> bool:
    """Whether a word is a path: it ends like a file of ours, starts with ``.``, ``/`` or ``~``, or exists."""
    return word.endswith(PATH_ENDINGS) or word.startswith((".", "/", "~")) or ((folder or Path()) / word).exists()


def recipe_names() -> list[str]:
    """The recipes that ship: ``<dataset>/<net>-<method>``."""
    return sorted(
        f"{folder.name}/{entry.name[: -len('.toml')]}"
        for folder in _shipped().iterdir()
        if folder.is_dir()
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, follow ``extends``, apply ``KEY=VALUE`` overrides, check everything.

    Args:
        name_or_path: A shipped name (``digits/conv-rmp``) or a path, see :func:`is_path`.
        overrides: ``train.epochs=3``: a dotted key and a TOML value; a bare word is a string.

    Raises:
        UsageError: ND101 for an unknown name, ND102 with every wrong key of an unreadable or wrong recipe.
        UnsupportedError: ND501 for what is named in the format and not built yet.
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
    _refuse_unbuilt(recipe, label)
    return recipe.model_copy(update={"name": place.label})


@dataclass(frozen=True)
class _Place:
    """A recipe file: what messages call it, the file, and the folder where its ``extends`` looks."""

    label: str
    file: Traversable
    folder: Traversable


def _shipped() -> Traversable:
    return resources.files("neurodeploy.shipped.models")


def _find(word: str, folder: Traversable | None) -> _Place:
    """The file behind a name or path; ``folder`` is that of the recipe that extends, None at the top."""
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
    if word not in names:
        raise UsageError("ND101", f"no such recipe: {word}", where="recipe", fix=nearest(word, names))
    dataset, name = word.split("/")
    home = _shipped() / dataset
    return _Place(word, home / f"{name}.toml", home)


def _resolve(place: _Place, seen: tuple[str, ...]) -> dict[str, Any]:
    """The table of a recipe laid over the tables it extends."""
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
    if not isinstance(parent, str):
        raise UsageError("ND102", "`extends` is not a string", where=place.label, fix='extends = "conv-vanilla"')
    return _laid_over(_resolve(_find(parent, place.folder), (*seen, str(place.file))), table)


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
        fix = nearest(str(value), allowed)
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
            inner = next((kind for kind in kinds if issubclass(kind, _Section)), None)
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


def _refuse_unbuilt(recipe: Recipe, label: str) -> None:
    values = recipe.flat()
    wrong = [
        Finding("ND501", "error", key, f"{key} = {_scalar(values[key])} is not built yet in this version", fix=fix)
        for key, (built, fix) in _BUILT.items()
        if values[key] not in built
    ]
    if recipe.loss.laf is not None:
        wrong.append(
            Finding("ND501", "error", "loss.laf", "[loss.laf] is not built yet in this version", fix="remove it")
        )
    if wrong:
        raise UnsupportedError(
            "ND501",
            "; ".join(finding.rule for finding in wrong),
            where=label,
            fix="; ".join(finding.fix for finding in wrong),
            findings=wrong if len(wrong) > 1 else (),
        )


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
