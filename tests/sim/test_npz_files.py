"""Arrays in archives, read some rows at a time and written in place, against numpy.savez and numpy.load."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.sim import npz_writer
from neurodeploy.sim.npz_reader import NpzMember
from neurodeploy.sim.npz_writer import NpzLayout

RNG = np.random.default_rng(0)
ARRAYS = {
    "floats": RNG.normal(size=(11, 3, 2)),
    "half": RNG.normal(size=(11, 5)).astype(np.float16),
    "big-endian": RNG.integers(0, 1000, size=(11, 4)).astype(">i4"),
    "columns-first": np.asfortranarray(RNG.normal(size=(11, 6))),
    "labels": np.arange(11),
    "bools": RNG.random((11, 2)) < 0.5,
    "no-values": np.zeros((11, 0), np.uint8),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", ARRAYS)
def test_rows_are_those_of_numpy(save, name: str, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", **ARRAYS)
    member, whole = NpzMember(tmp_path / "a.npz", name), ARRAYS[name]
    assert (member.shape, member.dtype) == (whole.shape, whole.dtype)
    for start, stop in ((0, 4), (4, 8), (8, 11), (5, 6), (5, 11), (0, 11), (3, 3)):  # on, back, on, all, none
        np.testing.assert_array_equal(member.read(start, stop), whole[start:stop])
    member.close()


def test_rows_do_not_depend_on_how_much_is_skipped_at_a_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("neurodeploy.sim.npz_reader.SKIP_BYTES", 7)
    np.savez_compressed(tmp_path / "a.npz", x=ARRAYS["floats"])
    np.testing.assert_array_equal(NpzMember(tmp_path / "a.npz", "x").read(9, 10), ARRAYS["floats"][9:10])


def test_a_damaged_archive_is_noticed_at_its_last_row(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(1000))
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[4000] ^= 1
    (tmp_path / "a.npz").write_bytes(whole)
    member = NpzMember(tmp_path / "a.npz", "x")
    member.read(0, 100)
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        member.read(100, 1000)


def test_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([None], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        NpzMember(tmp_path / "a.npz", "x")


# ---------------------------------------------------------------------------------------------------------------------
# written in place

TRACE = {
    "spikes/größe": RNG.integers(0, 2, size=(9, 4, 3)).astype(np.uint8),
    "output": RNG.normal(size=(9, 4, 2)).astype(np.float32),
    "counts/a/sop": np.arange(4),
    "nothing": np.zeros((9, 0, 2)),
}


def written(path: Path, pieces: list[tuple[int, int]]) -> bytes:
    layout = NpzLayout({key: (array.shape, array.dtype) for key, array in TRACE.items()})
    layout.create(path)
    for start, stop in pieces:
        layout.write(path, start, {key: array[start:stop] for key, array in TRACE.items() if len(array) == 9})
    layout.write(path, 0, {"counts/a/sop": TRACE["counts/a/sop"]})
    assert not zipfile.is_zipfile(path), "half a trace must not look like one"
    assert path.stat().st_size == layout.bytes
    layout.finish(path)
    return path.read_bytes()


@pytest.mark.parametrize("limit", [npz_writer.LIMIT_32, 400, 0], ids=["32 bits", "64 bits for some", "64 bits"])
def test_numpy_reads_what_is_written_in_place(limit: int, tmp_path: Path, monkeypatch) -> None:
    """With the limit lowered, sizes and offsets are written as those of a member beyond 4 GiB."""
    monkeypatch.setattr(npz_writer, "LIMIT_32", limit)
    data = written(tmp_path / "t.npz", [(0, 9)])
    with zipfile.ZipFile(tmp_path / "t.npz") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{key}.npy" for key in TRACE]
    with np.load(tmp_path / "t.npz") as found:
        assert found.files == list(TRACE)
        for key, array in TRACE.items():
            assert found[key].dtype == array.dtype
            np.testing.assert_array_equal(found[key], array)
    assert data.count(b"PK\6\6") == (0 if limit == npz_writer.ELSEWHERE else 1)


def test_the_bytes_do_not_depend_on_the_order_of_writing(tmp_path: Path) -> None:
    at_once = written(tmp_path / "a.npz", [(0, 9)])
    assert written(tmp_path / "b.npz", [(6, 9), (0, 4), (4, 6), (3, 5)]) == at_once


def test_rows_of_another_type_are_a_bug(tmp_path: Path) -> None:
    layout = NpzLayout({"a": ((2, 3), np.dtype(np.uint8))})
    layout.create(tmp_path / "t")
    for wrong in (np.zeros((1, 3), np.int64), np.zeros((1, 4), np.uint8)):
        with pytest.raises(AssertionError):
            layout.write(tmp_path / "t", 0, {"a": wrong})
