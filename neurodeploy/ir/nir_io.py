"""Graph <-> NIR: the names that other packages use. ``nir_write`` says how it is written, ``nir_read`` how read."""

from __future__ import annotations

from neurodeploy.ir.nir_file import KEY, SCHEMA, is_ours
from neurodeploy.ir.nir_read import DEFAULT_DT, from_nir, read_nir
from neurodeploy.ir.nir_write import to_nir, write_nir
from neurodeploy.ir.read_options import ReadOptions, apply_options, doubtful_time

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
