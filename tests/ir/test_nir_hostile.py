"""Files that no exporter writes: one message with a code, exit 2 or 3, never a traceback, never a long wait."""

import h5py
import numpy as np
import pytest
from nir_graphs import random_net

from neurodeploy.diagnostics import NeurodeployError
from neurodeploy.ir.nir_io import read_nir, write_nir

#: What a field may be replaced by.
VALUES = {
    "text": "hello",
    "texts": np.array([b"a", b"b"]),
    "nan": np.nan,
    "infinite": np.inf,
    "negative": -1.0,
    "fraction": 1.5,
    "zero": 0,
    "huge": 10**18,
    "largest": np.iinfo(np.uint64).max,
    "complex": 1j,
    "empty": np.zeros((0,)),
    "matrix": np.ones((7, 3)),
    "five axes": np.ones((1, 2, 1, 3, 1)),
    "compound": np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
    "nothing": h5py.Empty("f4"),
}


def refused_or_read(path):
    """Read it; a refusal must say what and where, with the exit code of a user's error."""
    refusal = None
    try:
        read_nir(path)
    except NeurodeployError as error:
        refusal = error
    if refusal is not None:
        assert refusal.exit_code in (2, 3)
        assert refusal.code.startswith(("ND1", "ND2"))
        assert all((refusal.message, refusal.where, refusal.fix)), refusal.to_json()
    return refusal


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file of ours and one without our notes, of different nodes."""
    folder = tmp_path_factory.mktemp("files")
    found = []
    for seed in (1, 4):
        ours, foreign = folder / f"{seed}.nir", folder / f"{seed}-foreign.nir"
        write_nir(random_net(seed), ours)
        foreign.write_bytes(ours.read_bytes())
        with h5py.File(foreign, "a") as file:
            for group in (file["node"], *file["node/nodes"].values()):
                group.pop("metadata", None)
        found.append(ours if seed == 1 else foreign)
    return found


def test_every_field_replaced_by_every_kind_of_value(files, tmp_path):
    """Each dataset of each file in turn; the values rotate, so that all meet all kinds of fields over the files."""
    refused = total = 0
    for number, path in enumerate(files):
        names = []
        with h5py.File(path) as file:
            file["node"].visititems(
                lambda name, item, names=names: names.append(name) if hasattr(item, "dtype") else None
            )
        for index, name in enumerate(names):
            kind = list(VALUES)[(index + 7 * number) % len(VALUES)]
            broken = tmp_path / "broken.nir"
            broken.write_bytes(path.read_bytes())
            with h5py.File(broken, "a") as file:
                del file["node"][name]
                file["node"][name] = VALUES[kind]
            total += 1
            refused += refused_or_read(broken) is not None
    assert total > 80
    assert refused > total / 2  # the rest says the same as before (a bias of 0, an order, a name of the origin)


def test_every_group_or_field_left_out(files, tmp_path):
    for number, path in enumerate(files):
        names = ["node"]
        with h5py.File(path) as file:
            file.visit(names.append)
        for name in names[number % 2 :: 2]:
            broken = tmp_path / "broken.nir"
            broken.write_bytes(path.read_bytes())
            with h5py.File(broken, "a") as file:
                if name in file:
                    del file[name]
            refused_or_read(broken)


def test_a_file_cut_or_overwritten_anywhere(files, tmp_path):
    rng = np.random.default_rng(0)
    for path in files:
        whole = path.read_bytes()
        for _ in range(12):
            at = int(rng.integers(len(whole)))
            broken = tmp_path / "broken.nir"
            broken.write_bytes(whole[:at])
            assert refused_or_read(broken) is not None
            noise = bytearray(whole)
            noise[at : at + 8] = rng.bytes(8)
            broken.write_bytes(noise)
            refused_or_read(broken)


def small(path):
    write_nir(random_net(1), path)
    return path


def test_links_are_not_followed_out_of_the_file_nor_in_circles(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["weights"] = np.ones(3)
    path = small(tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        del file["node/nodes/fc0/weight"]
        file["node/nodes/fc0/weight"] = h5py.ExternalLink(str(secret), "weights")
    assert "link to another file" in refused_or_read(path).message
    path = small(tmp_path / "b.nir")
    with h5py.File(path, "a") as file:
        file["node/nodes/again"] = file["node"]  # a hard link to what holds it
    assert "a group that holds itself" in refused_or_read(path).message
    path = small(tmp_path / "c.nir")
    with h5py.File(path, "a") as file:
        file["node/nodes/fc0/nowhere"] = h5py.SoftLink("/not/there")
    assert refused_or_read(path).code == "ND104"


def test_data_in_another_file_are_not_read(tmp_path):
    (tmp_path / "raw").write_bytes(bytes(8 * 9))
    path = small(tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        del file["node/nodes/fc0/bias"]
        file["node/nodes/fc0"].create_dataset("bias", (3,), "f8", external=[(str(tmp_path / "raw"), 0, 24)])
    assert "stored in another file" in refused_or_read(path).message


def test_an_array_larger_than_any_memory_is_refused_before_it_is_made(tmp_path):
    """A terabyte of zeros that were never written takes a few hundred bytes of file."""
    path = small(tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        del file["node/nodes/fc0/weight"]
        file["node/nodes/fc0"].create_dataset("weight", (2**19, 2**18), "f8", chunks=(1024, 1024))
    assert path.stat().st_size < 10**6
    assert "GiB" in refused_or_read(path).message


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("padding", 10**12, "padding is 1000000000000"),
        ("stride", -2, "stride is"),
        ("dilation", 0, "dilation is"),
        ("groups", 3, "output channels in 3 groups"),
        ("stride", 1.5, "stride is [1.5]"),
    ],
)
def test_geometry_that_cannot_be(field, value, says, tmp_path):
    path = small(tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        del file[f"node/nodes/conv/{field}"]
        file[f"node/nodes/conv/{field}"] = value
    error = refused_or_read(path)
    assert error.code == "ND104"
    assert error.where == "conv"
    assert says in error.message


def test_a_stride_beyond_the_image_gives_one_place(tmp_path):
    """Odd, and well defined: nothing to refuse in itself; here the layers behind it no longer fit."""
    path = small(tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        del file["node/nodes/conv/stride"]
        file["node/nodes/conv/stride"] = 10**12
    assert refused_or_read(path).code == "ND105"
