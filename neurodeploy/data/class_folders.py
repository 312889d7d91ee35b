"""Files that lie in one folder per class, on disk or in a tar archive that is read in memory; nothing is unpacked.

The label of a file is the place of its folder's name in alphabetical order. Within a class, files are in name order.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from neurodeploy.diagnostics import UsageError

#: No image or recording of ours is near it; a larger member of an archive is no sample.
MAX_MEMBER = 64 << 20


@dataclass(frozen=True, order=True, slots=True)
class Entry:
    """One file: ``group`` is its class folder, ``where`` how a message names it."""

    group: str
    name: str
    where: str
    size: int
    content: bytes | None = field(default=None, repr=False, compare=False)

    def read(self) -> bytes:
        """Its bytes, from the archive or from disk."""
        if self.content is not None:
            return self.content
        try:
            return Path(self.where).read_bytes()
        except OSError as error:
            raise damaged(self.where, f"cannot be read: {error.strerror or error}") from error


def damaged(where: str | Path, what: str) -> UsageError:
    """ND106 for a file that is there and cannot be used."""
    return UsageError("ND106", what, where=str(where), fix="get the file again, or restore it")


def missing(name: str, looked_at: Sequence[Path], layout: str, *, download: bool = False) -> UsageError:
    """ND106 for a dataset that is not there: where it was looked for, and how it has to lie."""
    fix = f"point --data-root at the folder that holds {layout}"
    return UsageError(
        "ND106",
        f"{name} is not there",
        where=" or ".join(map(str, looked_at)),
        fix=f"{fix}, or add --download" if download else fix,
    )


def in_folder(folder: Path, suffixes: tuple[str, ...]) -> list[Entry]:
    """Files of ``folder/<class>/``, sorted; other suffixes and hidden names are no samples.

    Raises:
        UsageError: ND106 for a class folder without any sample.
    """
    entries: list[Entry] = []
    try:
        for group in sorted(item.name for item in os.scandir(folder) if item.is_dir() and item.name[0] != "."):
            found = [
                Entry(group, item.name, item.path, item.stat().st_size)
                for item in os.scandir(folder / group)
                if item.name.lower().endswith(suffixes) and item.name[0] != "." and item.is_file()
            ]
            if not found:
                raise damaged(folder / group, f"the class folder holds no {' or '.join(suffixes)} file")
            entries += sorted(found)
    except OSError as error:
        raise damaged(folder, f"cannot be read: {error.strerror or error}") from error
    return entries


def in_tar(path: Path, suffixes: tuple[str, ...], within: str = "") -> list[Entry]:
    """Files of ``…/<within>/<class>/`` in an archive, with their bytes, sorted. Links and devices are passed over.

    Raises:
        UsageError: ND106 for an archive that is damaged.
    """
    return sorted(_members(path, suffixes, within))


def _members(path: Path, suffixes: tuple[str, ...], within: str) -> Iterator[Entry]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts
                if (
                    not member.isreg()
                    or len(parts) < 2
                    or parts[-1][0] == "."
                    or not parts[-1].lower().endswith(suffixes)
                ):
                    continue
                if within and (len(parts) < 3 or parts[-3] != within):
                    continue
                where = f"{path}:{member.name}"
                if member.size > MAX_MEMBER:
                    raise damaged(where, f"has {member.size:,} bytes; a sample has at most {MAX_MEMBER:,}")
                stream = archive.extractfile(member)
                assert stream is not None
                content = stream.read()
                if len(content) != member.size:
                    raise damaged(path, f"the archive ends inside {member.name}")
                yield Entry(parts[-2], parts[-1], where, member.size, content)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise damaged(path, f"the archive cannot be read: {error}") from error


def labels_of(entries: Sequence[Entry], classes: int, where: Path) -> np.ndarray:
    """Labels, int64 ``(N,)``.

    Raises:
        UsageError: ND106 where the number of class folders is not ``classes``.
    """
    groups = sorted({entry.group for entry in entries})
    if len(groups) != classes:
        shown = ", ".join(groups[:5]) + (" …" if len(groups) > 5 else "")
        raise UsageError(
            "ND106",
            f"{len(groups)} class folders with samples, {classes} expected",
            where=f"{where} ({shown})" if groups else str(where),
            fix="one folder per class; for image-folder, correct data.classes",
        )
    number = {group: label for label, group in enumerate(groups)}
    return np.array([number[entry.group] for entry in entries], np.int64)


def listing_sha256(entries: Sequence[Entry]) -> str:
    """Digest of class, name and size of every file, in order."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f"{entry.group}/{entry.name}\t{entry.size}\n".encode())
    return digest.hexdigest()
