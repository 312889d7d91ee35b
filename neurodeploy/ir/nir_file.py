"""A ``.nir`` file as nested dicts: names, numbers, arrays, text, and nothing else.

``node/type`` says what a group is, ``node/nodes`` and ``node/edges`` make a graph, ``metadata`` is anybody's. The tree
is read here and not by ``nir.read``, which (nir 1.0.8) refuses scalar parameters, grouped and non-square kernels whose
``input_shape`` is missing, and nested graphs that need ``type_check=False``.

A file from a stranger may hold links out of itself, cycles of links, or a dataset that says it is larger than any
memory: each is refused (ND104) before it is followed.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neurodeploy.diagnostics import UsageError

#: Key of our notes in ``metadata``.
KEY = "neurodeploy"
#: Version of our notes; a reader refuses a newer one.
SCHEMA = 1
MAGIC = b"\x89HDF\r\n\x1a\n"
#: Depth of groups in groups, number of objects and bytes of arrays that a file may have.
MOST_DEPTH, MOST_OBJECTS, MOST_BYTES = 64, 10**6, 2**34

Tree = dict[str, Any]


def read_tree(path: Path) -> Tree:
    """The tree under ``node`` of a ``.nir`` file: str -> dict, str, number, array, list of str, or None.

    Raises:
        UsageError: Not readable (ND103), not a NIR file or not a whole one (ND104).
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(8)
    except OSError as error:
        raise UsageError("ND103", f"cannot be read: {error.strerror}", where=str(path), fix="check the path") from error
    if magic != MAGIC:
        raise UsageError(
            "ND104", "not a NIR file: it does not begin as HDF5 does", where=str(path), fix="write it with nir.write"
        )
    try:
        with h5py.File(path, "r") as file:
            if "node" not in file:
                raise ValueError("it has no group `node`")
            return _Walk().group(file["node"], 0)
    except Exception as error:  # h5py raises whatever a broken file leads it to
        raise UsageError(
            "ND104",
            f"not a whole NIR file: {_said(error)}",
            where=str(path),
            fix="copy it again (truncated?), or write it with nir >= 1.0.8",
        ) from error


def is_ours(path: Path) -> bool:
    """Whether neurodeploy wrote a ``.nir`` file: its notes are in the metadata."""
    with h5py.File(path, "r") as file:
        return f"node/metadata/{KEY}" in file


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


class _Walk:
    """One pass through a file, counting what it has read."""

    def __init__(self) -> None:
        self.objects = 0
        self.bytes = 0

    def group(self, group: Any, depth: int) -> Tree:
        if not isinstance(group, h5py.Group):
            raise ValueError(f"`{group.name}` is not a group")
        if depth > MOST_DEPTH:
            raise ValueError(f"groups are nested more than {MOST_DEPTH} deep: a group that holds itself?")
        tree: Tree = {}
        for key in group:
            self.objects += 1
            if self.objects > MOST_OBJECTS:
                raise ValueError(f"it holds more than {MOST_OBJECTS} objects")
            key.encode()  # a name that is no text fails here, not in a message
            if isinstance(group.get(key, getlink=True), h5py.ExternalLink):
                raise ValueError(f"`{key}` is a link to another file")
            item = group[key]
            tree[key] = self.array(item) if isinstance(item, h5py.Dataset) else self.group(item, depth + 1)
        return tree

    def array(self, item: h5py.Dataset) -> Any:
        if item.external or item.is_virtual:
            raise ValueError(f"`{item.name}` is stored in another file")
        text = h5py.check_string_dtype(item.dtype) is not None
        if item.shape is None:
            return None
        if not text and item.dtype.kind not in "biuf":
            raise ValueError(f"`{item.name}` is neither numbers nor text ({item.dtype})")
        self.bytes += item.size * item.dtype.itemsize
        if self.bytes > MOST_BYTES:
            raise ValueError(f"`{item.name}` has {item.shape} values: more than {MOST_BYTES >> 30} GiB in all")
        value = item[()]
        if text:
            return _text(value.tolist() if isinstance(value, np.ndarray) else value)
        return value.astype(value.dtype.newbyteorder("="), copy=False) if isinstance(value, np.ndarray) else value


def _text(value: Any) -> Any:
    """Bytes to str, in lists too."""
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def tree_of(node: Any) -> Tree:
    """The tree of a NIR node or graph in memory, as it would be read from its file."""
    kind = type(node).__name__
    tree: Tree = {"type": kind, "metadata": node.metadata}
    if kind == "NIRGraph":
        return {
            **tree,
            "nodes": {str(name): tree_of(inner) for name, inner in node.nodes.items()},
            "edges": [(str(a), str(b)) for a, b in node.edges],
        }
    ends = {"Input": ("shape", "input_type"), "Output": ("shape", "output_type"), "Flatten": ("input_type",) * 2}
    if kind in ends:
        key, held = ends[kind]
        tree[key] = next(iter(getattr(node, held).values()), None)
    named = {f.name for f in fields(node)} - {"input_type", "output_type", "metadata"}
    return {**{name: _loose(getattr(node, name)) for name in named}, **tree}


def _loose(value: Any) -> Any:
    """A tensor as an array: several exporters leave theirs in the nodes."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value
