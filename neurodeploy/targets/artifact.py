"""The artifact: a folder that says what runs on the chip, and proves it with golden vectors.

``network.nir`` is the chip's graph; ``encoder.nir`` the host's part before it, where there is one; ``golden.npz`` what
comes out for known inputs; ``compile.json`` passes, findings, scales, resources; ``manifest.json`` where it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.diagnostics import UsageError, nearest
from neurodeploy.files import MANIFEST, read_json, sha256
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir_io import ReadOptions, apply_options, read_nir
from neurodeploy.ir.nodes import LIF, Input

NETWORK, ENCODER, GOLDEN, COMPILE = "network.nir", "encoder.nir", "golden.npz", "compile.json"
RUNS = Path("runs")


@dataclass(frozen=True)
class Artifact:
    """An emitted artifact, read from its folder; nothing is read before it is asked for."""

    folder: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """``manifest.json``."""
        manifest: dict[str, Any] = read_json(self.folder / MANIFEST, what="the artifact's manifest")
        return manifest

    @cached_property
    def compile(self) -> dict[str, Any]:
        """``compile.json``: passes, findings, scales, resources, accuracies."""
        compiled: dict[str, Any] = read_json(self.folder / COMPILE, what="the artifact's compile.json")
        return compiled

    @cached_property
    def network(self) -> Graph:
        """The chip's graph."""
        return read_nir(self.folder / NETWORK)

    @cached_property
    def encoder(self) -> Graph | None:
        """The host's part before it."""
        path = self.folder / ENCODER
        return read_nir(path) if path.exists() else None

    @cached_property
    def golden(self) -> dict[str, np.ndarray]:
        """The golden vectors."""
        return read_npz(self.folder / GOLDEN, what="golden vectors")

    def cores(self) -> dict[str, int]:
        """Neuron node -> cores of the placement; empty without one."""
        nodes = self.compile.get("resources", {}).get("nodes", {})
        return {name: row["cores"] for name, row in nodes.items() if row.get("cores")}

    def changed_files(self) -> list[str]:
        """Files whose bytes are not those of the manifest, or that are missing."""
        listed: dict[str, str] = self.manifest.get("files", {})
        return [n for n, d in listed.items() if not (self.folder / n).is_file() or sha256(self.folder / n) != d]


def is_artifact(folder: Path) -> bool:
    """Whether ``folder`` is an artifact that :func:`~neurodeploy.targets.export.export` wrote."""
    return all((folder / name).is_file() for name in (NETWORK, COMPILE, MANIFEST))


def find(name: str | Path, *, what: str = "model") -> Path:
    """A path as it is; a bare name is ``runs/<name>`` (a recipe's slash reads as a dash).

    Raises:
        UsageError: Neither exists (ND101), with the nearest runs.
    """
    text = str(name)
    path = Path(text).expanduser()
    if path.exists():
        return path
    if not text.startswith((".", "/", "~")) and path.suffix not in (".nir", ".net", ".onnx", ".npz", ".toml"):
        places = (RUNS / text, RUNS / text.replace("/", "-"))
        for place in places:
            if place.exists():
                return place
        known = [p.name for p in RUNS.iterdir() if p.is_dir()] if RUNS.is_dir() else []
        raise UsageError(
            "ND101", f"no such {what}: {text}", where=f"neither {text} nor {places[1]} exists", fix=nearest(text, known)
        )
    raise UsageError("ND103", f"no such file or folder: {text}", where=text, fix="check the path")


def find_artifact(name: str | Path) -> Artifact:
    """The artifact at a path, or under ``runs/``.

    Raises:
        UsageError: There is none (ND117); a run says which exports it has.
    """
    folder = find(name, what="artifact")
    if is_artifact(folder):
        return Artifact(folder)
    exports = sorted(str(p) for p in folder.glob("export-*") if is_artifact(p))
    raise UsageError(
        "ND117",
        "not an artifact: it lacks " + " or ".join((NETWORK, COMPILE, MANIFEST)),
        where=str(folder),
        fix="name one of: " + ", ".join(exports) if exports else f"neurodeploy export {name} --target loihi2",
    )


@dataclass(frozen=True)
class Runnable:
    """What ``simulate`` runs: the chip's graph, the host's encoder before it, cores per population.

    Attributes:
        own: Whether neurodeploy wrote it (then the file says everything).
        place: File or folder, for messages.
    """

    graph: Graph
    encoder: Graph | None
    cores: dict[str, int]
    own: bool
    place: str


def load_runnable(name: str | Path, options: ReadOptions | None = None) -> Runnable:
    """An artifact folder or a ``.nir`` file.

    Raises:
        UsageError: Not there, not readable, not an artifact.
        UnsupportedError: A ``.net`` file (ND501), a NIR node this version does not read (ND201).
    """
    from neurodeploy.diagnostics import not_built

    path = find(name)
    if path.suffix == ".net":
        raise not_built("reading lava-dl .net files", where=str(path), fix="export the network as .nir")
    if path.is_file():
        graph = read_nir(path, options)
        return Runnable(graph, None, {}, bool(graph.origin), str(path))
    artifact = find_artifact(path)
    options = options or ReadOptions()
    if options.dt is not None:
        return Runnable(read_nir(path / NETWORK, options), artifact.encoder, artifact.cores(), True, str(path))
    graph = apply_options(artifact.network, options)
    return Runnable(graph, artifact.encoder, artifact.cores(), True, str(path))


def overruled(runnable: Runnable, options: ReadOptions) -> list[str]:
    """One line per option that says something else than a file of ours does; the option wins."""
    if not runnable.own:
        return []
    file = read_nir(Path(runnable.place) / NETWORK if Path(runnable.place).is_dir() else Path(runnable.place))
    entry = file.nodes[file.input]
    lifs = [node for node in file.nodes.values() if isinstance(node, LIF)]
    says: list[tuple[str, Any, set[Any]]] = [
        ("--dt", options.dt, {file.dt}),
        ("--compare", options.compare, {node.compare for node in lifs}),
        ("--reset", options.reset, {"subtract" if n.reset == "subtract" else "zero" for n in lifs} | {"v_reset"}),
        ("--input-kind", options.input_kind, {entry.values} if isinstance(entry, Input) else set()),
    ]
    return [
        f"{flag} {given} overrules the file, which says {', '.join(map(str, sorted(said)))}"
        for flag, given, said in says
        if given is not None and said and given not in said
    ]


def read_npz(path: Path, *, what: str) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``; pickles are refused.

    Raises:
        UsageError: Not readable, truncated, or with object arrays (ND103).
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception as error:  # zipfile, zlib and numpy each raise their own
        raise UsageError(
            "ND103",
            f"the {what} cannot be read: {type(error).__name__}: {error}",
            where=str(path),
            fix="write it with numpy.savez, arrays of numbers only",
        ) from error
