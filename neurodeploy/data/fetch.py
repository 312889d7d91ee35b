"""Downloads, by torchvision, and only where they were asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neurodeploy.diagnostics import UsageError


def fetch(name: str, root: Path, split: str) -> Any:
    """``torchvision.datasets.<name>``, fetched into ``root`` and checked against torchvision's md5 sums.

    Raises:
        UsageError: ND106 where the download, or writing it, fails.
    """
    from torchvision import datasets

    try:
        return getattr(datasets, name)(root, train=split == "train", download=True)
    except (OSError, RuntimeError) as error:  # no network, no space, a read-only root, a wrong md5 sum
        raise UsageError(
            "ND106",
            f"{name} could not be downloaded: {error}",
            where=str(root),
            fix="check the network and that the folder can be written, or put the files there yourself",
        ) from error
