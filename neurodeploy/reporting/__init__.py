"""From results to what people read: the report model (JSON), terminal text, one-file HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neurodeploy.reporting.model import Report

#: What a report shows when nobody says otherwise.
DEFAULT_TARGET = "loihi2"
DEFAULT_PROFILES = ("loihi", "truenorth", "cmos45")


def report(
    *runs: str | Path,
    target: str = DEFAULT_TARGET,
    profiles: Sequence[str] = DEFAULT_PROFILES,
    allow_proxy: bool = False,
    data_root: str | Path | None = None,
    export: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Compare runs, or groups of seeds, on one target; the first is the baseline.

    Args:
        runs: Paths, or names under ``runs/``. A folder of ``seed-*`` runs is one group (mean ± std).
        target: Where they are compared; missing artifacts are exported, missing simulations run.
        profiles: Hardware profiles to price with, names or paths.
        allow_proxy: Let a profile's proxy stand in for unpublished prices; labeled as an estimate.
        data_root: Folder of downloaded datasets.
        export: Export and simulate what is missing; without it the report holds what training measured.
        progress: Called with one line before anything slow.

    Raises:
        UsageError: ND101, ND103, ND112, or ND113 for runs that cannot be compared.
    """
    from neurodeploy.reporting.build import build
    from neurodeploy.reporting.collect import collect
    from neurodeploy.reporting.pricing import load_profiles

    load_profiles(profiles, allow_proxy=allow_proxy)  # a wrong one is said before minutes of export and simulation
    groups = collect(runs, target=target, data_root=data_root, export=export, progress=progress)
    return build(groups, target=target, profiles=profiles, allow_proxy=allow_proxy)
