"""A lava-dl ``.net`` file as plain Python: one table of entries per layer, nothing interpreted.

HDF5 groups ``/layer/<i>``, i = 0…n−1; each holds datasets and a group ``neuron``. Text is ASCII, scalar or of one
element, as lava-dl's writers leave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from neurodeploy.diagnostics import UsageError
from neurodeploy.files import write_atomic

Entry = np.ndarray | str
MAGIC = b"\x89HDF\r\n\x1a\n"
#: A file can claim more than it holds (HDF5 fills in what was never written); nothing real is larger.
LARGEST = 2**31


@dataclass(frozen=True)
class Layer:
    """One layer of a ``.net`` file.

    Attributes:
        type: ``input``, ``conv``, ``dense``, ``dense_rec``, ``flatten``, or whatever the file says.
        entries: Dataset -> value; a dataset of a group within the layer is ``group/name``, but for ``neuron``.
        neuron: Datasets of ``neuron``; None without one.
    """

    type: str
    entries: dict[str, Entry] = field(default_factory=dict)
    neuron: dict[str, Entry] | None = None


def read_layers(path: Path) -> list[Layer]:
    """The layers of a ``.net`` file, in their order.

    Raises:
        UsageError: Not there or not readable (ND103), not HDF5, truncated, or without layers 0…n−1 (ND104).
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(MAGIC))
    except OSError as error:
        raise UsageError("ND103", f"cannot be read: {error.strerror}", where=str(path), fix="check the path") from error
    fix = "write it with a network's export_hdf5 (lava-dl)"
    if magic != MAGIC:
        raise UsageError("ND104", "not a .net file: it does not begin as HDF5 does", where=str(path), fix=fix)
    try:
        with h5py.File(path, "r") as file:
            names = sorted(file["layer"])
            if not names or names != sorted(map(str, range(len(names)))):
                raise UsageError(
                    "ND104",
                    f"the layers are numbered {', '.join(names) or '(none)'}",
                    where=str(path),
                    fix="0, 1, 2, …",
                )
            return [_layer(file[f"layer/{index}"]) for index in range(len(names))]
    except UsageError:
        raise
    except Exception as error:  # h5py raises whatever a broken file leads it to
        message = f"not a whole .net file: {type(error).__name__}: {error}"
        raise UsageError("ND104", message, where=str(path), fix=fix) from error


def _layer(group: h5py.Group) -> Layer:
    found: dict[str, Entry] = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = _value(item)

    group.visititems(visit)
    kind = found.pop("type")
    if not isinstance(kind, str):
        raise ValueError("the type of a layer is no text")
    prefix = "neuron/"
    neuron = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    rest = {name: value for name, value in found.items() if not name.startswith(prefix)}
    return Layer(kind, rest, neuron if "neuron" in group else None)


def _value(item: h5py.Dataset) -> Entry:
    if item.shape is None:
        raise ValueError(f"{item.name} is empty")
    if item.size * item.dtype.itemsize > LARGEST:
        raise ValueError(f"{item.name} claims {item.size * item.dtype.itemsize / 2**30:.0f} GiB")
    value = item[()]
    if item.dtype.kind in "SO":
        first = np.asarray(value).reshape(-1)[0]
        return first.decode("ascii") if isinstance(first, bytes) else str(first)
    return np.asarray(value)


def write_layers(layers: Sequence[Layer], path: Path) -> None:
    """Write a ``.net`` file, atomically, with the types of lava-dl's writers. The same layers give the same bytes."""

    def write(temporary: Path) -> None:
        with h5py.File(temporary, "w", libver="earliest") as file:
            for index, layer in enumerate(layers):
                group = file.create_group(f"layer/{index}")
                group.create_dataset("type", data=np.array([layer.type], dtype="S10"))
                for name, value in layer.entries.items():
                    group.create_dataset(name, data=value)
                for name, value in (layer.neuron or {}).items():
                    group.create_dataset(f"neuron/{name}", data=value)

    write_atomic(path, write)
