"""Files that are either whole or not there: atomic writes, folders built beside their place, digests, free names."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.diagnostics import UsageError, nearest

#: An artifact or run folder is recognized by this file.
MANIFEST = "manifest.json"
#: Where runs go, and where a bare name is looked up.
RUNS = Path("runs")


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def sha256_arrays(*arrays: np.ndarray) -> str:
    """Hex digest over dtype, shape and bytes of arrays, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a temporary file beside ``path``, flush it to disk, then rename it into place.

    A full disk or a kill leaves the old file, or none, never half of one.

    Raises:
        UsageError: The operating system refuses (ND110).
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the operating system refuses (no permission, no space, a file where a folder should be) is ND110."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            "ND110", f"cannot be written: {error.strerror or error}", where=str(path), fix="choose another place"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write text atomically."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, with a final newline."""
    write_text(path, json.dumps(value, indent=2, default=jsonable) + "\n")


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed .npz atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]

    write_atomic(path, write)


def jsonable(value: Any) -> Any:
    """NumPy scalars and arrays, paths and tuples as plain JSON values (for ``json.dumps(default=…)``)."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


def read_json(path: Path, *, what: str) -> Any:
    """Read JSON; a missing, truncated or foreign file is a :class:`UsageError` naming it as ``what``."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(
            "ND103", f"{what} cannot be read: {error}", where=str(path), fix="make it again, or point at another one"
        ) from error


@contextlib.contextmanager
def folder_in_place(folder: Path, *, replaces: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield an empty folder beside ``folder`` and rename it into place at the end.

    An existing folder for which ``replaces`` is true is replaced, an empty one too; any other is refused (ND110).
    If the body raises, nothing changes on disk.
    """
    folder = folder.absolute()
    refuse_foreign_folder(folder, replaces=replaces)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.building-"))
    try:
        with writing(folder):
            yield building
            building.chmod(0o755)
            old = None
            if folder.exists():
                old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old-"))
                folder.replace(old / "was")
            building.replace(folder)
            if old is not None:
                shutil.rmtree(old)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def refuse_foreign_folder(folder: Path, *, replaces: Callable[[Path], bool]) -> None:
    """Refuse (ND110) a non-empty folder, or a file, that ``replaces`` does not recognize, also on the way there."""
    if folder.is_dir() and (replaces(folder) or not any(folder.iterdir())):
        return
    if folder.exists():
        raise UsageError(
            "ND110",
            "the output place holds something else than what would be written there",
            where=str(folder),
            fix="choose another --out",
        )
    refuse_file_on_the_way(folder)


def refuse_file_on_the_way(path: Path) -> None:
    """Refuse (ND110) a path that leads through a file, before any work is done for it."""
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UsageError("ND110", f"{above} is a file, not a folder", where=str(path), fix="choose another place")


def find_in_runs(name: str | Path, *, what: str = "model") -> Path:
    """A path as it is; a bare name is ``runs/<name>`` (a recipe's slash reads as a dash).

    Raises:
        UsageError: Neither exists (ND101), with the nearest runs.
    """
    text = str(name)
    path = Path(text).expanduser()
    if path.exists():
        return path
    if not text.startswith((".", "/", "~")) and path.suffix not in (".nir", ".net", ".onnx", ".npz", ".toml"):
        places = (RUNS / text, RUNS / text.replace("/", "-"))
        for place in places:
            if place.exists():
                return place
        known = [p.name for p in RUNS.iterdir() if p.is_dir()] if RUNS.is_dir() else []
        fix = nearest(text, known) if known else f"give a path; there are no runs under {RUNS}/ here"
        raise UsageError("ND101", f"no such {what}: {text}", where=f"neither {text} nor {places[1]} exists", fix=fix)
    raise UsageError("ND103", f"no such file or folder: {text}", where=text, fix="check the path")
