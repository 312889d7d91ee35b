"""The ANN of a group's topology: its energy, and the firing rate below which the group costs less."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from neurodeploy.config.profile import Profile, load_profile
from neurodeploy.energy import Counted, DenseMacs, ann_baseline, crossover, estimate
from neurodeploy.energy.break_even import host_macs
from neurodeploy.energy.comparison import differences
from neurodeploy.reporting.collect import GroupData, RunData
from neurodeploy.reporting.model import AnnReport
from neurodeploy.sim.trace import COUNT_KEYS

#: Profiles whose multiply-accumulate prices the ANN beside a neuromorphic chip.
CONVENTIONAL = ("cmos45", "cmos45-fp32")


def ann_reports(group: GroupData, profile: Profile, *, allow_proxy: bool = False) -> tuple[AnnReport, ...]:
    """On the chip itself where it multiplies, then on the conventional lines, marked as another basis.

    Counts are those of all seeds together. Empty where the artifact does not say what the ANN multiplies (an earlier
    version exported it), or where the network is recurrent.
    """
    table = group.runs[0].compiled.get("dense_macs")
    if table is None:
        return ()
    macs = DenseMacs.from_json(table)
    network = _pooled(group.runs)
    snn = estimate(
        network.layers,
        profile,
        samples=network.samples,
        timesteps=network.timesteps,
        host_layers=network.host_layers,
        allow_proxy=allow_proxy,
    )
    found = []
    others = _conventional() if profile.chip.kind == "neuromorphic" else ()
    for other in (profile, *others):
        baseline = ann_baseline(macs, other, allow_proxy=allow_proxy)
        line = baseline.line()
        if line is None:
            continue
        marks = () if other is profile else differences(snn, baseline, line)
        host = line.of(host_macs(snn) or 0.0)
        ratio = (snn.dynamic.pj + host.pj) / line.energy.pj if snn.terms and line.energy.pj else None
        found.append(
            AnnReport(
                baseline.profile,
                baseline.name,
                macs.total,
                line.energy,
                line.price,
                line.memory,
                ratio,
                crossover(snn, line, network),
                marks,
            )
        )
    return tuple(found)


@lru_cache(maxsize=1)
def _conventional() -> tuple[Profile, ...]:
    return tuple(load_profile(name) for name in CONVENTIONAL)


def _pooled(runs: Sequence[RunData]) -> Counted:
    """The counts of all seeds added up, over the samples of all."""
    simulations = [run.simulation for run in runs]
    return Counted(
        _added([simulation["layers"] for simulation in simulations]),
        _added([simulation["host_layers"] for simulation in simulations]),
        sum(simulation["samples"] for simulation in simulations),
        simulations[0]["timesteps"],
    )


def _added(parts: Sequence[Sequence[dict[str, Any]]]) -> tuple[dict[str, Any], ...]:
    rows = []
    for same in zip(*parts, strict=True):
        counts = {key: [row[key] for row in same] for key in COUNT_KEYS}
        rows.append({**same[0], **{key: None if None in all_ else sum(all_) for key, all_ in counts.items()}})
    return tuple(rows)
