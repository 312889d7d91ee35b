"""Frames of events, worked out by hand; N-MNIST and CIFAR10-DVS files written byte by byte."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.config.recipe_sections import Data
from neurodeploy.data import load
from neurodeploy.data.events import Events, frame_of_each, to_frames
from neurodeploy.data.nmnist import parse
from neurodeploy.diagnostics import UsageError

RNG = np.random.default_rng(0)


def times(*t: int) -> np.ndarray:
    return np.array(t, np.int64)


@pytest.mark.parametrize(
    ("n", "frames", "expected"),
    [
        (6, 3, [0, 0, 1, 1, 2, 2]),
        (7, 3, [0, 0, 0, 1, 1, 2, 2]),  # ⌊3k/7⌋; the remainder is spread, not put at the end
        (5, 4, [0, 0, 1, 2, 3]),
        (2, 4, [0, 2]),  # fewer events than frames: some frames stay empty
        (0, 3, []),
    ],
)
def test_equal_counts(n: int, frames: int, expected: list[int]) -> None:
    """By count alone: when the events happened does not matter."""
    assert frame_of_each(np.sort(RNG.integers(0, 10**6, n)), frames, "count").tolist() == expected


@pytest.mark.parametrize(
    ("t", "frames", "expected"),
    [
        ((10, 11, 12, 13), 2, [0, 0, 1, 1]),
        ((0, 49, 50, 99), 2, [0, 0, 1, 1]),  # a border belongs to the frame behind it
        ((0, 33, 34, 66, 67, 99), 3, [0, 0, 1, 1, 2, 2]),  # borders at 33⅓ and 66⅔
        ((5, 5, 5), 4, [0, 0, 0]),  # no duration
        ((100, 1000), 5, [0, 4]),  # first and last event stand in first and last frame
        ((), 3, []),
    ],
)
def test_equal_time(t: tuple[int, ...], frames: int, expected: list[int]) -> None:
    assert frame_of_each(times(*t), frames, "time").tolist() == expected


def test_counts_differ_by_one_at_most() -> None:
    for n in range(1, 60):
        for frames in range(1, 12):
            counts = np.bincount(frame_of_each(np.zeros(n), frames, "count"), minlength=frames)
            assert counts.sum() == n
            assert counts.max() - counts.min() <= 1


def test_frames_by_hand() -> None:
    """Four events of a 4x4 sensor in two frames of 2x2: ⌊x·2/4⌋ puts columns 0, 1 on 0 and 2, 3 on 1."""
    events = Events(times(0, 1, 2, 3), x=times(0, 1, 3, 2), y=times(0, 1, 0, 3), p=times(1, 1, 0, 1))
    settings = {"frames": 2, "slicing": "count", "sensor": 4, "side": 2, "resize": "bin"}
    counts = to_frames(events, **settings, binary=False)
    expected = np.zeros((2, 2, 2, 2))
    expected[0, 1, 0, 0] = 2  # both first events are on, in the upper left
    expected[1, 0, 0, 1] = 1
    expected[1, 1, 1, 1] = 1
    assert counts.dtype == np.uint16
    assert (counts == expected).all()
    binary = to_frames(events, **settings, binary=True)
    assert binary.dtype == np.uint8
    assert (binary == (expected > 0)).all()
    none = Events(*(times() for _ in range(4)))
    assert to_frames(none, **settings, binary=True).tolist() == np.zeros((2, 2, 2, 2)).tolist()
    assert to_frames(none, **settings, binary=False).sum() == 0


@pytest.mark.parametrize(("sensor", "side"), [(128, 48), (34, 32), (8, 8), (5, 3)])
def test_nearest_is_finished_frames_resized(sensor: int, side: int) -> None:
    """As the papers do it: full frames first, then every ⌊i·S/s⌋-th row and column of them."""
    rng = np.random.default_rng(sensor)
    events = Events(np.arange(500), *(rng.integers(0, sensor, 500) for _ in range(2)), p=rng.integers(0, 2, 500))
    settings = {"frames": 3, "slicing": "count", "sensor": sensor, "binary": False}
    full = to_frames(events, **settings, side=sensor)
    kept = np.arange(side) * sensor // side
    assert (to_frames(events, **settings, side=side) == full[:, :, kept][..., kept]).all()
    assert to_frames(events, **settings, side=side, resize="bin").sum() == 500, "binning drops none"


def test_a_count_that_does_not_fit_is_refused() -> None:
    zeros = np.zeros(65_536, np.int64)
    with pytest.raises(OverflowError, match="65,536"):
        to_frames(Events(zeros, zeros, zeros, zeros), frames=1, slicing="count", sensor=1, side=1, binary=False)


def nmnist_bytes(events: list[tuple[int, int, int, int]]) -> bytes:
    """(t, x, y, p) as five bytes each."""
    return b"".join(bytes([x, y]) + ((p << 23) | t).to_bytes(3, "big") for t, x, y, p in events)


def test_nmnist_bytes_by_hand() -> None:
    content = bytes([3, 33, 0x80, 0, 5]) + bytes([4, 0, 0x01, 0x02, 0x03]) + bytes([0, 0, 0xFF, 0xFF, 0xFF])
    events = parse(content)
    assert events.x.tolist() == [3, 4, 0]
    assert events.y.tolist() == [33, 0, 0]
    assert events.p.tolist() == [1, 0, 1]
    assert events.t.tolist() == [5, 0x010203, 0x7FFFFF]


def test_nmnist_clock_overflow() -> None:
    """y = 240 is no event: from there on times are 8,192 µs later."""
    events = parse(nmnist_bytes([(5, 1, 1, 1), (0, 0, 240, 0), (7, 2, 2, 0), (0, 0, 240, 0), (9, 3, 3, 1)]))
    assert events.t.tolist() == [5, 7 + 8192, 9 + 16384]
    assert events.x.tolist() == [1, 2, 3]


def recording(label: int) -> bytes:
    """Three events; the first column tells the label."""
    return nmnist_bytes([(10, label, 0, 1), (20, 33, 33, 0), (40, 2, 3, 1)])


def write_nmnist(root: Path) -> None:
    for part in ("Train", "Test"):
        for label in range(10):
            folder = root / "NMNIST" / part / str(label)
            folder.mkdir(parents=True)
            for name in ("00002.bin", "00001.bin"):
                (folder / name).write_bytes(recording(label))


def test_nmnist_folder_and_archive(tmp_path: Path) -> None:
    write_nmnist(tmp_path / "whole")
    archive = tmp_path / "small" / "NMNIST_small" / "NMNIST_small.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as stream:
        stream.add(tmp_path / "whole" / "NMNIST", "NMNIST")
    whole = load("nmnist", "train", timesteps=2, root=tmp_path / "whole")
    small = load("nmnist", "train", timesteps=2, root=tmp_path / "small")
    assert (whole.shape, whole.temporal, len(whole)) == ((2, 34, 34), True, 20)
    assert whole.y.tolist() == [label for label in range(10) for _ in range(2)]
    assert whole.x.tobytes() == small.x.tobytes()
    assert whole.sha256 == small.sha256
    assert "20 of 60,000 samples" in whole.note
    # Events 0 and 1 of three are in frame 0 (⌊2k/3⌋), the last in frame 1; frames are (T, polarity, row, column).
    ones = {tuple(int(i) for i in place) for place in np.argwhere(whole.x[8])}
    assert ones == {(0, 1, 0, 4), (0, 0, 33, 33), (1, 1, 3, 2)}
    assert set(np.unique(whole.x)) == {0.0, 1.0}


def test_stack_frames_size_and_counts(tmp_path: Path) -> None:
    write_nmnist(tmp_path)
    frames = load(Data(name="nmnist", frames=3, slice="time"), "test", root=tmp_path)
    stacked = load(Data(name="nmnist", frames=3, slice="time", stack=True), "test", timesteps=1, root=tmp_path)
    assert stacked.shape == (6, 34, 34)
    assert not stacked.temporal
    assert stacked.x.tobytes() == frames.x.tobytes()
    # The 31 µs from 10 to 40 in three: borders at 20⅓ and 30⅔, so 10 and 20 share a frame, the next one is empty.
    assert frames.x[4].sum(axis=(1, 2, 3)).tolist() == [2, 0, 1]
    tiny = load(Data(name="nmnist", size=1, resize="bin", binary=False), "test", timesteps=1, root=tmp_path)
    assert tiny.x[0, 0, :, 0, 0].tolist() == [1.0, 2.0]  # one off, two on
    assert "as counts" in tiny.note


def test_damaged_recordings(tmp_path: Path) -> None:
    write_nmnist(tmp_path)
    path = tmp_path / "NMNIST" / "Test" / "7" / "00002.bin"
    cases = {"no multiple of 5": recording(7)[:-1], "no event": b"", "outside": bytes([34, 0, 0, 0, 0])}
    for match, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(UsageError, match=match) as caught:
            load("nmnist", "test", timesteps=2, root=tmp_path)
        assert (caught.value.code, caught.value.where) == ("ND106", str(path))
    assert len(load("nmnist", "train", timesteps=2, root=tmp_path)) == 20


HEADER = b"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n#End Of ASCII Header\r\n"


def aedat(events: list[tuple[int, int]]) -> bytes:
    """(address, µs) as big-endian pairs behind a header."""
    return HEADER + np.array(events, ">u4").tobytes()


def write_dvs(root: Path, content: bytes, *, suffix: str = "aedat", each: int = 10) -> Path:
    folder = root / "CIFAR10DVS"
    for label in range(10):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(each):
            (folder / f"class{label}" / f"{number:02d}.{suffix}").write_bytes(content)
    return folder


def test_aedat_by_hand(tmp_path: Path) -> None:
    """Address y << 8 | x << 1 | off: column 127 − y, row 127 − x; bit 15 is no pixel's."""
    content = aedat([(27 << 8 | 7 << 1 | 0, 100), (0x8000, 150), (126 << 8 | 127 << 1 | 1, 200)])
    write_dvs(tmp_path, content)
    dataset = load(Data(name="cifar10-dvs", size=128), "test", timesteps=2, root=tmp_path)
    ones = {tuple(int(i) for i in place) for place in np.argwhere(dataset.x[0])}
    assert ones == {(0, 1, 120, 100), (1, 0, 0, 1)}
    nearest = load("cifar10-dvs", "test", timesteps=2, root=tmp_path)
    assert nearest.shape == (2, 48, 48)
    assert not nearest.x.any(), "column 100 and column 1 are no multiples of 128/48"
    small = load(Data(name="cifar10-dvs", resize="bin"), "test", timesteps=2, root=tmp_path)
    # ⌊120·48/128⌋ = 45, ⌊100·48/128⌋ = 37
    assert {tuple(int(i) for i in place) for place in np.argwhere(small.x[0])} == {(0, 1, 45, 37), (1, 0, 0, 0)}


def test_split_is_nine_tenths_of_each_class_in_name_order(tmp_path: Path) -> None:
    folder = write_dvs(tmp_path, aedat([(0, 1)]))
    for label in range(10):
        (folder / f"class{label}" / "09.aedat").write_bytes(aedat([(1, 1)]))  # the last one is off, not on
    binned = Data(name="cifar10-dvs", resize="bin")
    train, test = (load(binned, split, timesteps=1, root=tmp_path) for split in ("train", "test"))
    assert (len(train), len(test)) == (90, 10)
    assert test.y.tolist() == list(range(10))
    assert (test.x[:, 0, 0].sum(axis=(1, 2)) == 1).all()
    assert (train.x[:, 0, 1].sum(axis=(1, 2)) == 1).all()
    assert "first 9/10 in name order are train" in train.note
    assert "90 of 9,000 samples" in train.note


def saved(kind: str) -> bytes:
    t, x, y, p = times(30, 10, 20), times(127, 0, 64), times(5, 6, 7), times(1, 0, 1)
    stream = io.BytesIO()
    if kind == "npz":
        np.savez(stream, t=t, x=x, y=y, p=p)
    elif kind == "columns":
        np.save(stream, np.stack([t, x, y, p], axis=1))
    else:
        fields = [(name, np.int64) for name in "txyp"]
        np.save(stream, np.array(list(zip(t, x, y, p, strict=True)), fields))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["npz", "columns", "fields"])
def test_lists_of_events(kind: str, tmp_path: Path) -> None:
    """Upright already; put in order of time first: at 10, 20 and 30 µs come columns 0, 64 and 127."""
    write_dvs(tmp_path, saved(kind), suffix="npz" if kind == "npz" else "npy")
    dataset = load(Data(name="cifar10-dvs", size=128), "train", timesteps=3, root=tmp_path)
    ones = [tuple(int(i) for i in place) for place in np.argwhere(dataset.x[0])]
    assert ones == [(0, 0, 6, 0), (1, 1, 7, 64), (2, 1, 5, 127)]


def test_refused_dvs_files(tmp_path: Path) -> None:
    folder = write_dvs(tmp_path, aedat([(0, 1)]))
    victim = folder / "class3" / "09.aedat"

    def refused(match: str, path: Path) -> UsageError:
        with pytest.raises(UsageError, match=match) as caught:
            load("cifar10-dvs", "test", timesteps=1, root=tmp_path)
        assert (caught.value.code, caught.value.where) == ("ND106", str(path))
        return caught.value

    for content, match in (
        (aedat([(0, 1)])[:-3], "cut short"),
        (HEADER[:-5], "ends inside its header"),
        (aedat([(1 << 20, 1)]), "addresses"),
        (HEADER, "no event"),
    ):
        victim.write_bytes(content)
        refused(match, victim)
    victim.write_bytes(aedat([(0, 1)]))
    newer = folder / "class3" / "99.aedat4"
    newer.write_bytes(b"#!AER-DAT4.0\r\n" + bytes(64))
    assert "np.savez" in refused("AEDAT 4.0 is not read", newer).fix
    newer.unlink()
    listed = folder / "class3" / "99.npz"
    for columns, match in (
        ({"t": times(1), "x": times(0), "y": times(0)}, "no list of events"),
        ({"t": times(1), "x": times(0), "y": times(0), "p": times(7)}, "p is 0 or 1"),
        ({"t": times(1, 2), "x": times(0), "y": times(0), "p": times(1)}, "different lengths"),
        ({"t": times(1), "x": times(128), "y": times(0), "p": times(1)}, "outside"),
        ({"t": times(1), "x": times(-1), "y": times(0), "p": times(1)}, "outside"),
    ):
        np.savez(listed, **columns)
        refused(match, listed)
    listed.write_bytes(listed.read_bytes()[:40])
    refused("no list of events", listed)
