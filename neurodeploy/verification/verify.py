"""``verify``: golden vectors against every oracle that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from neurodeploy.diagnostics import UsageError, VerificationError, nearest, not_built
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret, named_arrays
from neurodeploy.targets.artifact import NETWORK, Artifact, find_artifact
from neurodeploy.verification import lava, readers
from neurodeploy.verification.compare import Comparison, compare, skipped

ORACLES = ("interpreter", "engine", "onnxruntime", "lava", "norse", "snntorch", "spikingjelly")
DEFAULT = ("interpreter", "engine")


def verify(
    artifact: str | Path | Artifact, oracles: Sequence[str] = DEFAULT, samples: int | None = None
) -> dict[str, Comparison]:
    """Replay the golden vectors of an artifact.

    Args:
        artifact: Folder, name under ``runs/``, or the artifact itself.
        oracles: Names of :data:`ORACLES`.
        samples: Only the first samples; default: all of them.

    Raises:
        UsageError: No artifact, unreadable files, unknown oracle.
        UnsupportedError: An oracle that is not built yet.
        VerificationError: Files that are not those of the manifest (ND402). A simulator that failed (ND403) is an
            entry without samples that is not equal, and says why.
    """
    artifact = artifact if isinstance(artifact, Artifact) else find_artifact(artifact)
    for name in oracles:
        if name not in ORACLES:
            raise UsageError("ND101", f"no such oracle: {name}", where="--with", fix=nearest(name, ORACLES))
        if name == "onnxruntime":
            raise not_built(
                "verify --with onnxruntime", where="--with", fix="--with engine, norse, snntorch, spikingjelly"
            )
    golden, graph = artifact.golden, artifact.network
    changed = artifact.changed_files()
    if changed:
        raise VerificationError(
            "ND402",
            "these files are not the ones that were exported: " + ", ".join(changed),
            where=str(artifact.folder),
            fix="export again; an artifact is not edited by hand",
        )
    available = golden["input"].shape[0]
    count = available if samples is None else samples
    if not 1 <= count <= available:
        raise UsageError(
            "ND100",
            f"--samples is {count}; the golden vectors hold {available}",
            where="--samples",
            fix=f"1 to {available}",
        )
    results = {}
    for name in oracles:
        try:
            results[name] = _one(name, artifact, graph.arithmetic, count)
        except VerificationError as failure:  # the others still run
            results[name] = Comparison(why=f"{failure.code}: {failure.message}; {failure.fix}")
    return results


def _one(name: str, artifact: Artifact, arithmetic: str, samples: int) -> Comparison:
    graph, golden = artifact.network, artifact.golden
    x = golden["input"][:samples]
    if name == "interpreter":
        found = compare(graph, golden, interpret(graph, x, arithmetic).arrays(), exact=True)
        return _with_encoder(found, artifact, samples, lambda g, x: interpret(g, x, "float32").output)
    if name == "engine":
        from neurodeploy.sim.engine import Engine

        result = Engine(graph, arithmetic).run(x, x.shape[1], keep_membrane=True)
        arrays = named_arrays(result.output, result.spikes, result.membrane)
        found = compare(graph, golden, arrays, exact=True)
        return _with_encoder(found, artifact, samples, lambda g, x: Engine(g).run(x, x.shape[1]).output)
    if name == "lava":
        why = lava.lacking(artifact)
        return skipped(why) if why else compare(graph, golden, lava.replay(artifact, samples), exact=True)
    why = readers.lacking(name, artifact)
    if why:
        return skipped(why)
    try:
        arrays = readers.replay(name, artifact, samples)
    except Exception as error:  # another project's code on our file: whatever it raises is its verdict
        raise VerificationError(
            "ND403",
            f"{name} could not run the artifact: {type(error).__name__}: {error}",
            where=str(artifact.folder / NETWORK),
            fix=f"leave out --with {name}, or export a network whose neurons {name} has",
        ) from error
    return compare(graph, golden, arrays, exact=False)


def _with_encoder(
    found: Comparison, artifact: Artifact, samples: int, run: Callable[[Graph, np.ndarray], np.ndarray]
) -> Comparison:
    """The comparison, and the spikes that the host's encoder makes of ``host_input`` where there is one."""
    if artifact.encoder is None:
        return found
    expected = artifact.golden["input"][:samples]
    given = artifact.golden["host_input"][:samples]
    full = given if given.ndim == expected.ndim else np.repeat(given[:, None], expected.shape[1], axis=1)
    different = int(np.count_nonzero(run(artifact.encoder, full) != expected))
    return replace(
        found,
        encoder_differences=different,
        equal=found.equal and not different,
        why=f"{different} of the host encoder's spikes differ" if different else found.why,
    )
