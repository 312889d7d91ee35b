"""Graph <-> NIR: the names that other packages use. ``nir_write`` says how it is written, ``nir_read`` how read.

Only writing needs the package ``nir``, which takes as long to import as a small file takes to read: it is imported when
the first of the two writing functions is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from neurodeploy.ir.nir_file import KEY, SCHEMA, is_ours
from neurodeploy.ir.nir_read import DEFAULT_DT, from_nir, read_nir
from neurodeploy.ir.read_options import ReadOptions, apply_options, doubtful_time

if TYPE_CHECKING:
    import nir

    from neurodeploy.ir.graph import Graph

__all__ = [
    "DEFAULT_DT",
    "KEY",
    "SCHEMA",
    "ReadOptions",
    "apply_options",
    "doubtful_time",
    "from_nir",
    "is_ours",
    "read_nir",
    "to_nir",
    "write_nir",
]


def to_nir(graph: Graph) -> nir.NIRGraph:
    """:func:`neurodeploy.ir.nir_write.to_nir`."""
    from neurodeploy.ir import nir_write

    return nir_write.to_nir(graph)


def write_nir(graph: Graph, path: Path) -> None:
    """:func:`neurodeploy.ir.nir_write.write_nir`."""
    from neurodeploy.ir import nir_write

    nir_write.write_nir(graph, path)
