"""Results depend on nothing that must not matter: kernels, threads, tiles, what is kept, whether operations count.

Run as a program, this file prints what many networks give, under the kernels that ``NEURODEPLOY_KERNELS`` names; inside
of such a run all other choices are compared. The tests run it once for each library and compare the lines.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).parents[1]
LIBRARIES = sorted((TESTS.parent / "neurodeploy" / "sim" / "native").glob("kernels_*.so"))
SAMPLES, TIMESTEPS = 14, 4
#: Tile, threads, counts, keep.
CHOICES = [(1, 1, True, False), (1, 1, False, False), (1, 2, True, False), (3, 5, True, True), (32, 2, False, True)]


def digest(*arrays: np.ndarray) -> str:
    """Of the bits, shapes and types: 0 is not -0."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def graphs() -> Iterator[tuple[str, object, np.ndarray, str]]:
    from every_kind import any_input, every_kind, every_kind_of_machine
    from graphs import paper_chain, random_graph, random_input, skip_chain

    from neurodeploy.passes.fold_pool import fold_pool
    from neurodeploy.passes.quantize import quantize

    size = {"samples": SAMPLES, "timesteps": TIMESTEPS}
    for seed in range(3):
        graph = random_graph(seed, real=seed % 2 == 0)
        x = random_input(graph, seed, **size)
        yield f"random {seed}", graph, x * np.float32(0.7) if seed % 2 == 0 else x, "float32"
        graph = every_kind(seed)
        yield f"every kind {seed}", graph, any_input(graph, seed, **size), "float32"
        graph = every_kind_of_machine(seed)
        yield f"machine {seed}", graph, any_input(graph, seed, **size), "loihi"
        graph, _ = quantize(fold_pool(paper_chain(seed, real=False, width=20)))
        yield f"chain {seed}", graph, random_input(graph, seed, **size), "loihi"
    graph = paper_chain(9, width=20)
    x = random_input(graph, 0, **size)
    yield "chain", graph, x, "float32"
    yield "static", graph, x[:, :1], "float32"
    graph = skip_chain()
    yield "skips", graph, random_input(graph, 0, **size), "float32"


def outcomes() -> dict[str, str]:
    """Network -> what it gives; all choices but the kernels give the same."""
    from neurodeploy.diagnostics import UnsupportedError
    from neurodeploy.sim.engine import Engine

    found = {}
    for name, graph, x, arithmetic in graphs():
        engine = Engine(graph, arithmetic)  # type: ignore[arg-type]
        try:
            whole = engine.run(x, TIMESTEPS, keep_spikes=True, keep_membrane=True)
        except UnsupportedError as refusal:
            found[name] = refusal.code
            continue
        kept = [*whole.spikes.values(), *whole.membrane.values(), *whole.current.values()]
        found[name] = digest(whole.output, whole.totals, *kept)
        for tile, threads, counts, keep in CHOICES:
            how = f"{name}: tile {tile}, threads {threads}, counts {counts}, keep {keep}"
            again = engine.run(
                x, TIMESTEPS, tile=tile, threads=threads, counts=counts, keep_spikes=keep, keep_membrane=keep
            )
            assert digest(again.output) == digest(whole.output), how
            if counts:
                np.testing.assert_array_equal(again.totals, whole.totals, err_msg=how)
            if keep:
                same = [*again.spikes.values(), *again.membrane.values(), *again.current.values()]
                assert list(map(digest, same)) == list(map(digest, kept)), how
    return found | artifact()


def artifact() -> dict[str, str]:
    """An exported file of the size of a digits network, read back and simulated."""
    from graphs import paper_chain, random_input

    from neurodeploy.ir.nir_io import write_nir
    from neurodeploy.passes.fold_pool import fold_pool
    from neurodeploy.passes.quantize import quantize
    from neurodeploy.sim.run import simulate

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for real in (False, True):
            graph = paper_chain(5, real=real, width=16)
            x = random_input(graph, 1, samples=70, timesteps=TIMESTEPS)
            path = Path(folder) / f"{real}.nir"
            write_nir(graph if real else quantize(fold_pool(graph))[0], path)
            traces = [simulate(path, x, batch=batch, threads=threads) for batch, threads in ((32, 1), (1, 2), (3, 5))]
            digests = {digest(t.output, t.predictions) + str([layer.to_json() for layer in t.layers]) for t in traces}
            assert len(digests) == 1
            found[f"file {real}"] = digest(np.frombuffer(digests.pop().encode(), np.uint8))
    return found


def outcomes_under(kernels: str) -> dict[str, str]:
    environment = os.environ | {"NEURODEPLOY_KERNELS": kernels}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env=environment, check=False)
    if "ND100" in done.stderr:
        pytest.skip(f"this CPU cannot run {kernels}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def numba() -> dict[str, str]:
    return outcomes_under("numba")


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.stem)
def test_every_library_gives_what_numba_gives(library, numba):
    found = outcomes_under(library.stem.removeprefix("kernels_"))
    assert len(found) == 17
    assert sum(outcome == "ND223" for outcome in found.values()) < 5
    assert found == numba


if __name__ == "__main__":
    print(json.dumps(outcomes()))
