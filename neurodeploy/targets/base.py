"""A target: its spec (``export/<name>/target.toml``), its kit of files, and what it adds to an artifact."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurodeploy.config.target import EMITTERS, TargetSpec, parse_target, validate_target
from neurodeploy.diagnostics import Finding, NeurodeployError, UnsupportedError, UsageError, nearest
from neurodeploy.ir.graph import Graph

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

ENTRY_POINTS = "neurodeploy.targets"


@dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        name: Name for ``--target``.
        spec: What it can hold and which passes lead there.
        emit: Writes what the target adds to the artifact folder, beside what every artifact has; what it left out, and
            why, are the findings.
    """

    name: str
    spec: TargetSpec
    emit: Callable[[Graph, Path], list[Finding]]


def target_names() -> list[str]:
    """Shipped targets and installed plug-ins."""
    return sorted([*_shipped(), *_plugins()])


def load_target(name: str) -> Target:
    """The target of that name.

    Raises:
        UsageError: Unknown (ND101, with the nearest names), a broken file (ND115), or two of the same name (ND116).
    """
    shipped, plugins = _shipped(), _plugins()
    if name in shipped and name in plugins:
        raise UsageError(
            "ND116", f"a plug-in and neurodeploy both offer the target {name}", where=ENTRY_POINTS, fix="rename yours"
        )
    if name in shipped:
        folder = shipped[name]
        spec = parse_target((folder / "target.toml").read_text(encoding="utf-8"), where=f"export/{name}/target.toml")
        return Target(name, spec, lambda graph, out: _write_kit(folder, spec, graph, out))
    if name in plugins:
        return _from_plugin(name, plugins[name])
    raise UsageError("ND101", f"no such target: {name}", where="--target", fix=nearest(name, target_names()))


def refuse_check_only(target: Target) -> None:
    """Stop an export for which nothing exists that could read it.

    Raises:
        UnsupportedError: ND258, with the reason and what to use instead.
    """
    if target.spec.check_only:
        raise UnsupportedError(
            "ND258",
            f"{target.name} can be checked but not exported: {target.spec.check_only}",
            where=f"--target {target.name}",
            fix=f"neurodeploy check MODEL --target {target.name}; --target nir writes the network for other tools",
        )


def _shipped() -> dict[str, Traversable]:
    root = resources.files("neurodeploy.shipped.export")
    return {entry.name: entry for entry in root.iterdir() if entry.is_dir() and (entry / "target.toml").is_file()}


def _plugins() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}


def _from_plugin(name: str, point: metadata.EntryPoint) -> Target:
    try:
        plugin: Any = point.load()
        plugin = plugin() if isinstance(plugin, type) else plugin
        spec, emit, own_name = plugin.spec, plugin.emit, plugin.name
    except Exception as error:  # a third party's code: name it, do not crash on it
        raise UsageError(
            "ND115",
            f"plug-in target {name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
            where=ENTRY_POINTS,
            fix="it must offer name, spec (as target.toml) and emit(graph, folder)",
        ) from error
    spec = spec if isinstance(spec, TargetSpec) else validate_target(spec, where=f"plug-in {name}")
    if len({name, own_name, spec.name}) > 1:
        raise UsageError(
            "ND115",
            f"plug-in target {name} ({point.value}) has different names: name says {own_name}, its spec {spec.name}",
            where=ENTRY_POINTS,
            fix="give the entry point, name and spec the same name",
        )
    return Target(name, spec, lambda graph, folder: _emit_foreign(name, emit, graph, folder))


def _emit_foreign(name: str, emit: Callable[[Graph, Path], None], graph: Graph, folder: Path) -> list[Finding]:
    try:
        emit(graph, folder)
        return []
    except NeurodeployError:  # says already what is wrong
        raise
    except Exception as error:
        raise UsageError(
            "ND115",
            f"plug-in target {name} failed while it wrote its files: {type(error).__name__}: {error}",
            where=ENTRY_POINTS,
            fix="tell its authors; `neurodeploy export MODEL --target nir` does not need it",
        ) from error


def _write_kit(folder: Traversable, spec: TargetSpec, graph: Graph, out: Path) -> list[Finding]:
    findings: list[Finding] = []
    for file in spec.files:
        kit, _, name = file.rpartition("/")  # loihi2/run_lava.py: the kit of another shipped target
        (out / name).write_bytes(((_shipped()[kit] if kit else folder) / name).read_bytes())
    for name in spec.emitters:
        module, function = EMITTERS[name].split(":")
        findings += getattr(importlib.import_module(module), function)(graph, out)
    return findings
