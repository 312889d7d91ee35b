"""``verify``: golden vectors against every oracle that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neurodeploy.diagnostics import UsageError, VerificationError, nearest, not_built
from neurodeploy.ir.interpret import interpret
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
        VerificationError: Files that are not those of the manifest (ND402), or a runner that failed (ND403).
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
    return {name: _one(name, artifact, graph.arithmetic, count) for name in oracles}


def _one(name: str, artifact: Artifact, arithmetic: str, samples: int) -> Comparison:
    graph, golden = artifact.network, artifact.golden
    x = golden["input"][:samples]
    if name == "interpreter":
        return compare(graph, golden, _interpreted(artifact, x, arithmetic), exact=True)
    if name == "engine":
        from neurodeploy.sim.engine import Engine

        result = Engine(graph, arithmetic).run(x, x.shape[1], keep_membrane=True)
        found = {"output": result.output}
        found.update({f"spikes/{node}": array for node, array in result.spikes.items()})
        found.update({f"membrane/{node}": array for node, array in result.membrane.items()})
        return compare(graph, golden, found, exact=True)
    if name == "lava":
        why = lava.lacking(artifact)
        return skipped(why) if why else compare(graph, golden, lava.replay(artifact, samples), exact=True)
    why = readers.lacking(name, artifact)
    if why:
        return skipped(why)
    try:
        found = readers.replay(name, artifact, samples)
    except Exception as error:  # another project's code on our file: whatever it raises is its verdict
        raise VerificationError(
            "ND403",
            f"{name} could not run the artifact: {type(error).__name__}: {error}",
            where=str(artifact.folder / NETWORK),
            fix=f"leave out --with {name}, or export a network whose neurons {name} has",
        ) from error
    return compare(graph, golden, found, exact=False)


def _interpreted(artifact: Artifact, x: np.ndarray, arithmetic: str) -> dict[str, np.ndarray]:
    meaning = interpret(artifact.network, x, arithmetic)
    found = {"output": meaning.output}
    found.update({f"spikes/{node}": array for node, array in meaning.spikes.items()})
    found.update({f"membrane/{node}": array for node, array in meaning.membrane.items()})
    return found
