"""``verify``: golden vectors against every oracle that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from neurodeploy.diagnostics import UsageError, VerificationError, nearest
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret, named_arrays
from neurodeploy.passes.exact_input import is_exact
from neurodeploy.passes.tail import as_tail_input
from neurodeploy.targets.artifact import NETWORK, Artifact, find_artifact
from neurodeploy.verification import lava, onnx_runtime, readers
from neurodeploy.verification.compare import Comparison, compare, skipped

#: Oracles outside this project: why one cannot run here ("" if it can), and its run of the first golden inputs.
OTHERS: dict[str, tuple[Callable[[Artifact], str], Callable[[Artifact, int], dict[str, np.ndarray]]]] = {
    "onnxruntime": (onnx_runtime.lacking, onnx_runtime.replay),
    "lava": (lava.lacking, lava.replay),
    **{name: (partial(readers.lacking, name), partial(readers.replay, name)) for name in readers.READERS},
}
ORACLES = ("interpreter", "engine", *OTHERS)
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
        VerificationError: Files that are not those of the manifest (ND402). A simulator that failed (ND403) is an
            entry without samples that is not equal, and says why.
    """
    artifact = artifact if isinstance(artifact, Artifact) else find_artifact(artifact)
    for name in oracles:
        if name not in ORACLES:
            raise UsageError("ND101", f"no such oracle: {name}", where="--with", fix=nearest(name, ORACLES))
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
    graph, golden, tail = artifact.network, artifact.golden, artifact.tail
    x = golden["input"][:samples]
    if name == "interpreter":
        found = compare(graph, golden, interpret(graph, x, arithmetic).arrays(), exact=True, tail=tail)
        return _with_encoder(found, artifact, samples, lambda g, x: interpret(g, x, "float32").output)
    if name == "engine":
        from neurodeploy.sim.engine import Engine

        result = Engine(graph, arithmetic).run(x, x.shape[1], keep_membrane=True)
        arrays = named_arrays(result.output, result.spikes, result.membrane, result.current)
        if tail is not None:
            entered = as_tail_input(tail, graph, arithmetic, result.output)
            arrays["host_output"] = Engine(tail).run(entered, x.shape[1]).output
        found = compare(graph, golden, arrays, exact=True, tail=tail)
        return _with_encoder(found, artifact, samples, lambda g, x: Engine(g).run(x, x.shape[1]).output)
    lacking, replay = OTHERS[name]
    why = lacking(artifact)
    if why:
        return skipped(why)
    try:
        arrays = replay(artifact, samples)
    except VerificationError:
        raise
    except Exception as error:  # another project's code on our file: whatever it raises is its verdict
        raise VerificationError(
            "ND403",
            f"{name} could not run the artifact: {type(error).__name__}: {error}",
            where=str(artifact.folder / NETWORK),
            fix=f"leave out --with {name}, or export a network whose neurons {name} has",
        ) from error
    # Integers below 2^24 and snapped weights are exact in float32, whatever the order of the sums.
    return compare(graph, golden, arrays, exact=arithmetic == "loihi" or is_exact(graph), tail=tail)


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
