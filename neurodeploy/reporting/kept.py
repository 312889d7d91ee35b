"""What a report computed and keeps beside a run for the next one: JSON files, each under a key of all it depends on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurodeploy.diagnostics import UsageError
from neurodeploy.energy import counted
from neurodeploy.files import write_json

#: Form of the cache files; raise it when what is kept changes.
CACHE_FORMAT = 1


def read_kept(path: Path, *keys: str) -> dict[str, Any] | None:
    """What was kept, None when there is nothing usable: a cache that cannot be read is made again, not an error."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or set(kept) != {"key", *keys}:
        return None
    return kept if isinstance(kept["key"], dict) and kept["key"].get("format") == CACHE_FORMAT else None


def is_simulation(trace: Any, samples: int) -> bool:
    """Whether what was kept holds the counts (whole numbers of at least 0) and predictions of ``samples`` samples."""
    if not isinstance(trace, dict) or not isinstance(trace.get("layers"), list) or "host_layers" not in trace:
        return False
    predictions = trace.get("predictions")
    try:
        counts = counted(trace)
    except UsageError:
        return False
    return counts.samples == samples and isinstance(predictions, list) and len(predictions) == samples


def keep(cache: Path, kept: dict[str, Any], progress: Callable[[str], None]) -> None:
    """Write the cache; where that is refused (a run that is read-only) the report goes on without it."""
    try:
        write_json(cache, kept)
    except UsageError as error:
        progress(f"this is not kept for the next report: {cache} {error.message}")
