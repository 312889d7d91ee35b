"""The artifact: a folder that says what runs on the chip, and proves it with golden vectors.

``network.nir`` is the chip's graph; ``encoder.nir`` and ``tail.nir`` the host's parts before and behind it, where there
are such; ``golden.npz`` what comes out for known inputs; ``compile.json`` passes, findings, scales, resources;
``manifest.json`` where it came from.
"""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.diagnostics import Finding, NeurodeployError, UsageError, VerificationError
from neurodeploy.files import MANIFEST, find_in_runs, read_json, sha256
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.netx_io import load_net
from neurodeploy.ir.nir_io import ReadOptions, apply_options, doubtful_time, is_ours, read_nir
from neurodeploy.ir.nodes import LIF, Input

NETWORK, ENCODER, TAIL = "network.nir", "encoder.nir", "tail.nir"
GOLDEN, COMPILE = "golden.npz", "compile.json"
#: The files of an artifact that a simulation reads.
RUNNING = (NETWORK, ENCODER, TAIL, COMPILE)


@dataclass(frozen=True)
class Artifact:
    """An emitted artifact, read from its folder; nothing is read before it is asked for."""

    folder: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """``manifest.json``."""
        return self._table(MANIFEST, "files")

    @cached_property
    def compile(self) -> dict[str, Any]:
        """``compile.json``: passes, findings, scales, resources, accuracies."""
        return self._table(COMPILE, "resources")

    def _table(self, name: str, key: str) -> dict[str, Any]:
        """A JSON file of the artifact; it must be an object in which ``key`` holds another (ND103)."""
        found = read_json(self.folder / name, what=f"the artifact's {name}")
        if not isinstance(found, dict) or not isinstance(found.get(key), dict):
            raise UsageError(
                "ND103",
                f"the artifact's {name} is not as neurodeploy writes it: it has no table `{key}`",
                where=str(self.folder / name),
                fix="export again",
            )
        return found

    @cached_property
    def network(self) -> Graph:
        """The chip's graph."""
        return read_nir(self.folder / NETWORK)

    @cached_property
    def encoder(self) -> Graph | None:
        """The host's part before it."""
        return self._host_part(ENCODER)

    @cached_property
    def tail(self) -> Graph | None:
        """The host's part behind it: reads what the chip puts out, raw membranes included."""
        return self._host_part(TAIL)

    def _host_part(self, name: str) -> Graph | None:
        path = self.folder / name
        if path.exists():
            return read_nir(path)
        if name in self.manifest["files"]:
            raise UsageError("ND103", f"the artifact's {name} is missing", where=str(path), fix="export again")
        return None

    @cached_property
    def golden(self) -> dict[str, np.ndarray]:
        """The golden vectors."""
        return read_npz(self.folder / GOLDEN, what="golden vectors", fix="export again")

    def cores(self) -> dict[str, int]:
        """Neuron node -> cores of the placement; empty without one."""
        nodes = self.compile["resources"].get("nodes", {})
        try:
            return {str(name): int(row["cores"]) for name, row in nodes.items() if row["cores"] is not None}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                "ND103",
                "the artifact's resources cannot be read",
                where=str(self.folder / COMPILE),
                fix="export it again",
            ) from error

    def changed_files(self) -> list[str]:
        """Files whose bytes are not those of the manifest, or that are missing."""
        listed: dict[str, str] = self.manifest["files"]
        return [n for n, d in listed.items() if not (self.folder / n).is_file() or sha256(self.folder / n) != d]

    def require_unchanged(self) -> None:
        """Refuse files that would run and whose bytes are not those of the manifest; a missing one is said elsewhere.

        Raises:
            VerificationError: ND402.
        """
        listed = self.manifest["files"]
        there = [name for name in RUNNING if name in listed and (self.folder / name).is_file()]
        changed = [name for name in there if sha256(self.folder / name) != listed[name]]
        if changed:
            raise VerificationError(
                "ND402",
                "these files are not the ones that were exported: " + ", ".join(changed),
                where=str(self.folder),
                fix="export again; an artifact is not edited by hand",
            )


def is_artifact(folder: Path) -> bool:
    """Whether ``folder`` is an artifact that :func:`~neurodeploy.targets.export.export` wrote."""
    return all((folder / name).is_file() for name in (NETWORK, COMPILE, MANIFEST))


def find_artifact(name: str | Path) -> Artifact:
    """The artifact at a path, or under ``runs/``.

    Raises:
        UsageError: There is none (ND117); a run says which exports it has.
    """
    folder = find_in_runs(name, what="artifact")
    if is_artifact(folder):
        return Artifact(folder)
    exports = sorted(str(p) for p in folder.glob("export-*") if is_artifact(p))
    if folder.is_file():
        why = "an artifact is a folder, this is a file"
    else:
        why = "it lacks " + ", ".join(n for n in (NETWORK, COMPILE, MANIFEST) if not (folder / n).is_file())
    if exports:
        fix = "name one of: " + ", ".join(exports)
    elif folder.is_file() and is_artifact(folder.parent):
        fix = f"name its folder: {folder.parent}"
    elif (folder.is_file() and folder.suffix == ".nir") or (folder / "recipe.toml").is_file():
        fix = f"neurodeploy export {name} --target loihi2"
    else:
        fix = "name a folder that `neurodeploy export` wrote"
    raise UsageError("ND117", f"not an artifact: {why}", where=str(folder), fix=fix)


@dataclass(frozen=True)
class Runnable:
    """What ``simulate`` runs: the chip's graph, the host's parts before and behind it, cores per population.

    Attributes:
        own: Whether neurodeploy wrote it (then the file says everything).
        place: File or folder, for messages.
        dataset: The ``[data]`` table of the recipe that an artifact came from, None where it came from a file.
        tail: The host's part behind it; its Input takes what the chip puts out.
        findings: What a user should know about the file (warnings).
    """

    graph: Graph
    encoder: Graph | None
    cores: dict[str, int]
    own: bool
    place: str
    dataset: dict[str, Any] | None = None
    tail: Graph | None = None
    findings: tuple[Finding, ...] = ()


def load_runnable(name: str | Path, options: ReadOptions | None = None) -> Runnable:
    """An artifact folder, a ``.nir`` file or a lava-dl ``.net`` file.

    Raises:
        UsageError: Not there, not readable, not an artifact.
        VerificationError: An artifact whose files were changed after the export (ND402).
        UnsupportedError: A NIR node this version does not read (ND201), a ``.net`` that netx or Lava would change
            (ND253, ND254).
    """
    path = find_in_runs(name)
    if path.is_file() and path.suffix == ".net":
        graph, findings = load_net(path, options)
        return Runnable(graph, None, {}, False, str(path), findings=tuple(findings))
    if path.is_file():
        graph = read_nir(path, options)
        return Runnable(graph, None, {}, is_ours(path), str(path))
    artifact = find_artifact(path)
    artifact.require_unchanged()
    options, encoder = options or ReadOptions(), artifact.encoder
    if encoder is not None:  # what the user gives enters the host's part; all else is about the chip
        encoder = apply_options(encoder, ReadOptions(input_kind=options.input_kind))
        options = replace(options, input_kind=None)
    # Where time is restated, the neurons are read anew from the file's tau.
    graph = read_nir(path / NETWORK, options) if options.restates_time else apply_options(artifact.network, options)
    dataset = artifact.manifest.get("dataset")
    return Runnable(graph, encoder, artifact.cores(), True, str(path), dataset, artifact.tail)


def digest(runnable: Runnable) -> str:
    """Hex digest of the bytes that ``runnable`` was read from."""
    place = Path(runnable.place)
    if place.is_file():
        return sha256(place)
    parts = [f"{name} {sha256(place / name)}" for name in RUNNING if (place / name).is_file()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def other_parts(runnable: Runnable) -> str:
    """A notice where ``runnable`` is the chip's network out of an artifact whose host has parts too; else empty."""
    place = Path(runnable.place)
    if place.name != NETWORK or not place.is_file() or not is_artifact(place.parent):
        return ""
    beside = [name for name in (ENCODER, TAIL) if (place.parent / name).is_file()]
    if not beside:
        return ""
    run = "runs" if len(beside) == 1 else "run"
    return (
        f"{place} is the chip's part alone; {' and '.join(beside)} beside it {run} on the host: to run the whole "
        f"network simulate its folder, {place.parent}"
    )


def overruled(
    runnable: Runnable, options: ReadOptions, *, timesteps: int | None = None, arithmetic: str | None = None
) -> list[str]:
    """One line per option that says something else than a file of ours does; the option wins.

    Of a foreign file: whether its time constants look as if they counted in another unit than seconds.
    """
    if not runnable.own:
        integers = runnable.graph.arithmetic == "loihi"  # decays per step: nothing to doubt
        doubt = "" if integers else doubtful_time(runnable.graph, options)
        return [doubt] if doubt else []
    if options == ReadOptions() and timesteps is None and arithmetic is None:
        return []  # nothing given: the files need not be read once more
    place = Path(runnable.place)
    file = read_nir(place / NETWORK if place.is_dir() else place)
    first = file if runnable.encoder is None else read_nir(place / ENCODER)
    entry = first.nodes[first.input]
    lifs = [node for node in file.nodes.values() if isinstance(node, LIF)]
    says: list[tuple[str, Any, set[Any]]] = [
        ("--dt", options.dt, {file.dt}),
        ("--discretize", options.discretize, {"euler"} if lifs else set()),
        ("--spikes", options.spikes, {node.spikes for node in lifs}),
        ("--compare", options.compare, {node.compare for node in lifs}),
        ("--reset", _same_reset(options.reset, lifs), {_reset(node) for node in lifs}),
        ("--input-kind", options.input_kind, {entry.values} if isinstance(entry, Input) else set()),
        ("--timesteps", timesteps, set() if file.timesteps is None else {file.timesteps}),
        ("--arithmetic", arithmetic, {file.arithmetic}),
    ]
    return [
        f"{flag} {given} overrules the file, which says {', '.join(map(str, sorted(said)))}"
        for flag, given, said in says
        if given is not None and said and said != {given}
    ]


def _reset(node: LIF) -> str:
    """The reset of a neuron in the words of ``--reset``."""
    if node.reset == "subtract":
        return "subtract"
    return "v_reset" if np.any(node.v_reset != 0.0) else "zero"


def _same_reset(given: str | None, lifs: list[LIF]) -> str | None:
    """``v_reset`` means whatever the file resets to: nothing is overruled where no neuron subtracts."""
    return None if given == "v_reset" and all(node.reset == "to" for node in lifs) else given


def read_npz(
    path: Path, *, what: str, fix: str = "write it with numpy.savez, arrays of numbers only"
) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``; pickles are refused.

    Raises:
        UsageError: Not readable, truncated, or with object arrays (ND103).
    """
    with reading_npz(path, what=what, fix=fix), np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@contextlib.contextmanager
def reading_npz(
    path: Path, *, what: str, fix: str = "write it with numpy.savez, arrays of numbers only"
) -> Iterator[None]:
    """Whatever goes wrong while an ``.npz`` is read is ND103, and says why."""
    try:
        with path.open("rb") as stream:
            if stream.read(2) != b"PK":  # numpy would take it for a pickle and advise to load that
                raise ValueError("it is no .npz archive")
        yield
    except NeurodeployError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each raise their own
        if isinstance(error, OSError) and error.strerror:
            why = error.strerror
        elif isinstance(error, zipfile.BadZipFile):
            why = "it is no whole .npz archive (truncated?)"
        elif "allow_pickle" in str(error):
            why = "it holds objects; only arrays of numbers are read"
        else:
            why = str(error) or type(error).__name__
        raise UsageError("ND103", f"the {what} cannot be read: {why}", where=str(path), fix=fix) from error
