"""Energy of a group: one estimate for each run and profile, then their mean. And what the network takes on the chip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from neurodeploy.config.profile import Profile, load_profile
from neurodeploy.diagnostics import UsageError
from neurodeploy.energy import Amount, Estimate, estimate
from neurodeploy.energy.prices import PriceBook
from neurodeploy.reporting.ann import ann_reports
from neurodeploy.reporting.collect import GroupData, RunData
from neurodeploy.reporting.model import EnergyFigure, EnergyReport, EnergyTerm, Place, Resources
from neurodeploy.reporting.statistics import statistic


def load_profiles(profiles: Sequence[str], *, allow_proxy: bool) -> list[Profile]:
    """The profiles, each once.

    Raises:
        UsageError: ND101, ND112 for a profile or its proxy; ND112 for two that differ and name the same chip, since
            everything after knows a profile by that name alone.
    """
    found: dict[str, tuple[str, Profile]] = {}
    for name in profiles:
        profile = load_profile(name)
        PriceBook(profile, allow_proxy)  # refuses a proxy that cannot stand in
        earlier, same = found.setdefault(profile.chip.id, (name, profile))
        if same != profile:
            raise UsageError(
                "ND112",
                f"two profiles that differ name the same chip: {profile.chip.id}",
                where=f"{earlier} and {name}, [chip] id",
                fix="give one of them an id and a name of its own",
            )
    return [profile for _, profile in found.values()]


def priced(group: GroupData, profiles: Sequence[Profile], target: str, allow_proxy: bool) -> list[list[Estimate]]:
    """For each profile the estimate of each run; nothing for a network that the target does not take."""
    if group.not_exported:
        return []
    return [_estimates(group, profile, target, allow_proxy) for profile in profiles]


def _estimates(group: GroupData, profile: Profile, target: str, allow_proxy: bool) -> list[Estimate]:
    return [
        estimate(
            run.simulation["layers"],
            profile,
            samples=run.simulation["samples"],
            timesteps=run.simulation["timesteps"],
            chips=resources(run).chips,
            chips_from=target,
            host_layers=run.simulation["host_layers"],
            allow_proxy=allow_proxy,
        )
        for run in group.runs
    ]


def energy_report(estimates: Sequence[Estimate], group: GroupData, profile: Profile) -> EnergyReport:
    """The mean over seeds; provenance and reasons are those of all seeds together."""
    first = estimates[0]

    def figure(amount: Callable[[Estimate], Amount], at_least: Callable[[Estimate], bool]) -> EnergyFigure:
        amounts = [amount(e) for e in estimates]
        pj = statistic(a.pj for a in amounts)
        assert pj is not None
        mean = _mean_amount(amounts, len(amounts))
        return EnergyFigure(pj, mean.low_pj, mean.high_pj, any(at_least(e) for e in estimates))

    terms: dict[str, list[tuple[float, Amount]]] = {}
    layers: dict[str, dict[str, float]] = {}
    in_layer: dict[str, list[Amount]] = {}
    for e in estimates:
        for term in e.terms:
            terms.setdefault(term.key, []).append((term.count, term.energy))
            layer = layers.setdefault(term.layer, {})
            layer[term.key] = layer.get(term.key, 0.0) + term.energy.pj / len(estimates)
            in_layer.setdefault(term.layer, []).append(term.energy)
    return EnergyReport(
        profile=first.profile,
        name=first.name,
        scope=first.scope,
        operating_point=first.operating_point,
        dynamic=figure(lambda e: e.dynamic, lambda e: e.dynamic_is_lower_bound),
        static=first.static,
        static_note=first.static_note,
        total=figure(lambda e: e.total, lambda e: e.total_is_lower_bound),
        terms=tuple(
            EnergyTerm(
                key,
                sum(count for count, _ in entries) / len(estimates),
                _mean_amount([amount for _, amount in entries], len(estimates)),
            )
            for key, entries in terms.items()
        ),
        layers=layers,
        layer_totals={name: _mean_amount(amounts, len(estimates)) for name, amounts in in_layer.items()},
        unpriced={key: reason for e in estimates for key, reason in e.unpriced_keys().items()},
        not_charged={key: reason for e in estimates for key, reason in e.not_charged.items()},
        host=first.host,
        prices=tuple({tag.key: tag for e in estimates for tag in e.prices}.values()),
        basis=first.basis,
        confidence=first.confidence,
        proxy=first.proxy,
        ann=ann_reports(group, profile, allow_proxy=first.proxy is not None),
    )


def _mean_amount(amounts: Sequence[Amount], n: int) -> Amount:
    highs = [amount.high_pj for amount in amounts]
    high = None if None in highs else sum(h for h in highs if h is not None) / n
    return Amount(sum(a.pj for a in amounts) / n, sum(a.low_pj for a in amounts) / n, high)


def resources(run: RunData) -> Resources:
    """What the compiler says the network takes on the target."""
    found = run.compiled.get("resources") or {}
    total = found.get("total", found)
    chips = run.compiled.get("chips", found.get("chips"))
    return Resources(
        neurons=total.get("neurons"),
        synapses=total.get("synapses"),
        synaptic_memory_bytes=total.get("synaptic_memory_bytes"),
        cores=total.get("cores"),
        chips=chips,
    )


def places(run: RunData) -> tuple[Place, ...]:
    """What the compiler says each layer takes."""
    nodes = (run.compiled.get("resources") or {}).get("nodes") or {}
    keys = ("neurons", "synapses", "synaptic_memory_bytes", "cores", "limited_by")
    return tuple(Place(str(name), *(row.get(key) for key in keys)) for name, row in nodes.items())
