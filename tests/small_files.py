"""Small models and inputs for tests of the commands, written without any training."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
from graphs import paper_chain, skip_chain

from neurodeploy.ir.nir_io import write_nir

SAMPLES, TIMESTEPS = 6, 4


def foreign_network(**lif: Any) -> nir.NIRGraph:
    """Input-Affine-LIF-Affine-LIF-Output written with plain nir: 4 inputs, 5 hidden neurons, 3 outputs."""
    rng = np.random.default_rng(0)

    def population(size: int) -> nir.LIF:
        numbers = {"tau": 2e-4, "r": 2.0, "v_leak": 0.0, "v_threshold": 0.5, "v_reset": 0.1, **lif}
        return nir.LIF(**{key: np.full(size, value) for key, value in numbers.items()})

    nodes = {
        "in": nir.Input({"input": np.array([4])}),
        "a1": nir.Affine(rng.normal(size=(5, 4)).astype(np.float32), np.zeros(5, np.float32)),
        "l1": population(5),
        "a2": nir.Affine(rng.normal(size=(3, 5)).astype(np.float32), np.zeros(3, np.float32)),
        "l2": population(3),
        "out": nir.Output({"output": np.array([3])}),
    }
    names = list(nodes)
    return nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(names)))


def write_models_and_inputs(folder: Path) -> None:
    """``chain.nir`` (real input), ``spiking``, ``skip``, ``sew``, ``foreign.nir``, and inputs that fit them."""
    write_nir(paper_chain(), folder / "chain.nir")
    write_nir(paper_chain(real=False), folder / "spiking.nir")
    write_nir(skip_chain(), folder / "skip.nir")
    skip = skip_chain()  # and with spikes added in front of a synapse, as SEW blocks do: no chip takes that
    write_nir(replace(skip, edges=(*skip.edges, ("lif1", "conv3"))), folder / "sew.nir")
    nir.write(folder / "foreign.nir", foreign_network())
    rng = np.random.default_rng(1)
    x = rng.normal(size=(SAMPLES, 1, 8, 8)).astype(np.float32)
    y = np.arange(SAMPLES)
    np.savez(folder / "static.npz", x=x, y=y)
    np.savez(folder / "repeated.npz", x=np.repeat(x[:, None], TIMESTEPS, axis=1), y=y)
    np.savez(folder / "spikes.npz", x=(rng.random((SAMPLES, TIMESTEPS, 1, 8, 8)) < 0.3).astype(np.uint8))
    np.savez(folder / "events.npz", x=(rng.random((7, 5, 4)) < 0.5).astype(np.float32))
    np.savez(folder / "values.npz", x=rng.normal(size=(7, 5, 4)).astype(np.float32))
    write_bad_inputs(folder, x, y)


def write_bad_inputs(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    """Inputs that must be refused, each for one reason (see ``BAD_INPUTS``)."""
    np.savez(folder / "no-x.npz", data=x)
    np.savez(folder / "nan.npz", x=np.full_like(x, np.nan))
    np.savez(folder / "infinite.npz", x=np.full_like(x, np.inf))
    np.savez(folder / "objects.npz", x=np.array([{}, None], object))
    np.savez(folder / "label-objects.npz", x=x, y=np.array([None] * SAMPLES, object))
    np.savez(folder / "narrow.npz", x=x[..., :7])
    np.savez(folder / "none.npz", x=x[:0])
    np.savez(folder / "number.npz", x=np.float32(3))
    np.savez(folder / "letters.npz", x=np.full(x.shape, "a"))
    np.savez(folder / "complex.npz", x=x.astype(complex))
    np.savez(folder / "few-labels.npz", x=x, y=y[:-1])
    np.savez(folder / "one-label.npz", x=x, y=np.int64(3))
    np.savez(folder / "float-labels.npz", x=x, y=y.astype(float))
    np.save(folder / "array.npy", x)
    (folder / "text.npz").write_text("not an archive")
    whole = (folder / "static.npz").read_bytes()
    (folder / "half.npz").write_bytes(whole[: len(whole) // 2])


#: File, code, and a word that the message must hold.
BAD_INPUTS = [
    ("gone.npz", "ND103", "No such file"),
    ("text.npz", "ND103", "no .npz archive"),
    ("array.npy", "ND103", "no .npz archive"),
    ("half.npz", "ND103", "truncated"),
    ("objects.npz", "ND103", "objects"),
    ("label-objects.npz", "ND103", "objects"),
    ("no-x.npz", "ND105", "it has data"),
    ("narrow.npz", "ND105", "(6, 1, 8, 7), the network takes (B, 1, 8, 8) or (B, T, 1, 8, 8)"),
    ("none.npz", "ND105", "no samples"),
    ("number.npz", "ND105", "shape ()"),
    ("letters.npz", "ND105", "dtype"),
    ("complex.npz", "ND105", "complex128"),
    ("few-labels.npz", "ND105", "(5,)"),
    ("one-label.npz", "ND105", "()"),
    ("float-labels.npz", "ND105", "float64"),
    ("nan.npz", "ND108", "nan"),
    ("infinite.npz", "ND108", "infinity"),
]


def listing(folder: Path) -> dict[str, bytes]:
    """Every file under a folder with its bytes, hidden and temporary ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
