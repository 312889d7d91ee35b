"""``target.toml``: what a target can hold, and how a network gets there."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neurodeploy.config.chip import ChipRules
from neurodeploy.diagnostics import UsageError

#: Name in ``emitters`` -> the function that writes these files: ``(graph, folder) -> findings``.
EMITTERS = {
    "onnx": "neurodeploy.targets.onnx_model:write",
    "netx": "neurodeploy.targets.netx:write",
}


class QuantizeSpec(BaseModel):
    """``[quantize]``: the integer machine of the target."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight_bits: Literal[8] = Field(8, description="stored bits per weight; weights are even, -254 … 254")
    accumulator_bits: int = Field(17, ge=8, le=17, description="|sum w·s| per step stays below 2^bits")


class TargetSpec(BaseModel):
    """One ``target.toml``. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="the name for --target")
    title: str = Field(description="one line for people")
    summary: str = Field(description="what the artifact is and who reads it")
    arithmetic: Literal["float32", "loihi"] = Field(description="arithmetic of network.nir")
    nodes: tuple[str, ...] = Field(description="node kinds that may stand in the emitted graph")
    passes: tuple[str, ...] = Field(description="passes, in order")
    folds: tuple[str, ...] = Field(("weights",), description="forms of norm folding that the target can hold")
    profile: str | None = Field(None, description="hardware profile whose limits `check` uses")
    files: tuple[str, ...] = Field(
        (), description="files of the kit that are copied into the artifact; with a slash, of another target's kit"
    )
    emitters: tuple[Literal["netx", "onnx"], ...] = Field((), description="what is written beside them")
    quantize: QuantizeSpec | None = None
    chip: ChipRules | None = Field(None, description="what the chip, or the tool that reads the file, can hold")
    check_only: str = Field("", description="why `export` is refused, and what to use instead; empty: it is not")


def parse_target(text: str, *, where: str) -> TargetSpec:
    """Parse a target file; all errors at once (ND115)."""
    try:
        return validate_target(_toml(text), where=where)
    except ValueError as error:
        raise UsageError("ND115", f"not TOML: {error}", where=where, fix="correct the file") from error


def validate_target(values: dict[str, Any], *, where: str) -> TargetSpec:
    """A target from the values of a file or of a plug-in's ``spec``; all errors at once (ND115)."""
    try:
        return TargetSpec.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        keys = ", ".join(TargetSpec.model_fields)
        raise UsageError("ND115", f"target file: {problems}", where=where, fix=f"known keys: {keys}") from error


def _toml(text: str) -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    return tomllib.loads(text)
