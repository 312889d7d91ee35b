"""The firing rate at which a spiking network stops winning: by hand, and equal energies at that rate."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from priced import HELD, price, profile, row

from neurodeploy.energy import Amount, Counted, Crossover, DenseMacs, ann_baseline, crossover, estimate

#: 10 neurons, 4 steps, 8 spikes: a rate of 0.2. Operations 2 pJ, updates 1 pJ whether idle or not.
CHIP = profile(
    f'scope = "per_term"\nsop = {price(2, 1, 4)}\nneuron_active = {price(1)}\nneuron_inactive = {price(1)}\n{HELD}'
)


def network(spikes: int = 8, sop: int = 100, idle: int = 30, **more: int | None) -> Counted:
    lif: dict[str, Any] = row("lif", spikes_out=spikes, neuron_updates_active=10, neuron_updates_idle=idle, **more)
    return Counted((row("conv", sop=sop) | {"kind": "conv2d"}, lif | {"size": 10}), (), 1, 4)


def costs(of: Counted, chip: Any = CHIP) -> Any:
    # spikes have no price of their own here: what they cause has
    layers = [{**layer, "spikes_out": 0} for layer in of.layers]  # type: ignore[dict-item]
    return estimate(layers, chip, samples=of.samples, timesteps=of.timesteps)


def amount(pj: float, low: float | None = None, high: float | None = None) -> Amount:
    return Amount(pj, pj if low is None else low, pj if high is None else high)


def test_by_hand() -> None:
    """40 pJ of updates and 200 pJ of operations against 140 pJ: half of the operations fit, a rate of 0.1."""
    found = crossover(costs(network()), amount(140), network())
    assert (found.verdict, found.exact, found.at_most) == ("below", True, False)
    assert found.factor == pytest.approx(0.5)
    assert (found.measured_rate, found.rate, found.spikes_per_neuron) == pytest.approx((0.2, 0.1, 0.4))
    # prices 1 to 4 pJ: (140 - 40) / 400 and / 100
    assert (found.low, found.high) == pytest.approx((0.25, 1.0))
    assert found.wins() is False
    assert crossover(costs(network()), amount(280), network()).wins() is True


def test_the_range_of_the_anns_price_counts_too() -> None:
    found = crossover(costs(network()), amount(140, 80, 240), network())
    assert (found.low, found.high) == pytest.approx((40 / 400, 200 / 100))


def test_never() -> None:
    """The updates alone cost what the ANN costs."""
    found = crossover(costs(network()), amount(40), network())
    assert (found.verdict, found.rate, found.wins()) == ("never", None, False)


def test_always() -> None:
    """At one spike per neuron and step (k = 5) it costs 1040 pJ."""
    assert crossover(costs(network()), amount(1041), network()).verdict == "always"
    assert crossover(costs(network()), amount(1039), network()).verdict == "below"


def test_free_spikes_always_win() -> None:
    free = profile(
        f'scope = "per_term"\nsop = {price(0)}\nneuron_active = {price(1)}\nneuron_inactive = {price(1)}\n{HELD}'
    )
    assert crossover(costs(network(), free), amount(41), network()).verdict == "always"
    assert crossover(costs(network(), free), amount(40), network()).verdict == "never"


def test_unknown_without_spikes_or_prices() -> None:
    silent = network(spikes=0, sop=0)
    found = crossover(costs(silent), amount(100), silent)
    assert (found.verdict, found.wins()) == ("unknown", None)
    assert "no spike was counted" in found.note
    unpriced = crossover(costs(network(), profile('scope = "per_term"')), amount(100), network())
    assert unpriced.verdict == "unknown"
    assert "sop" in unpriced.note


def test_a_lower_bound_wins_at_most() -> None:
    """Messages have no price: the network stops winning at the factor or before."""
    of = network(messages=5)
    found = crossover(costs(of), amount(280), of)
    assert (found.verdict, found.at_most) == ("below", True)
    assert found.wins() is None
    assert crossover(costs(of), amount(140), of).wins() is False
    assert crossover(costs(of), amount(10_000), of).verdict == "unknown"


def test_the_anns_lower_bound_wins_at_least() -> None:
    peak = Amount(140, 140, None)
    found = crossover(costs(network()), peak, network())
    assert (found.at_least, found.high, found.wins()) == (True, None, None)
    assert crossover(costs(network()), Amount(280, 280, None), network()).wins() is True
    assert crossover(costs(network()), Amount(30, 30, None), network()).verdict == "unknown"


def test_updates_of_two_prices_are_held_and_the_range_holds_any_split() -> None:
    """10 updates at 3 pJ and 30 at 1 pJ: 60 pJ held; all idle 40, all active 120."""
    chip = profile(
        f'scope = "per_term"\nsop = {price(2)}\nneuron_active = {price(3)}\nneuron_inactive = {price(1)}\n{HELD}'
    )
    found = crossover(costs(network(), chip), amount(160), network())
    assert not found.exact
    assert "updates are held" in found.note
    assert (found.low, found.factor, found.high) == pytest.approx((40 / 200, 100 / 200, 120 / 200))


def test_graded_events_are_not_linear() -> None:
    chip = profile(f'scope = "per_term"\nsop_graded = {price(2)}\n{HELD}')
    of = Counted((row("conv", sop_graded=50) | {"kind": "conv2d"}, row("lif", spikes_out=8) | {"size": 10}), (), 1, 4)
    found = crossover(costs(of, chip), amount(50), of)
    assert (found.factor, found.exact) == (pytest.approx(0.5), False)


def test_memory_of_multiplications_and_states_does_not_grow() -> None:
    """Weights of spikes (100 at 1 pJ) grow; those of 20 multiplications and 10 states, read and written, stay."""
    chip = profile(
        f'scope = "per_term"\nsop = {price(0)}\nmac = {price(0)}\nneuron_active = {price(0)}\n'
        f"neuron_inactive = {price(0)}\nmem_access = {price(1)}"
    )
    of = Counted((row("first", mac=20) | {"kind": "conv2d"}, *network().layers), (), 1, 4)
    found = crossover(costs(of, chip), amount(20 + 20 + 50), of)
    assert found.factor == pytest.approx(0.5)


def test_the_hosts_first_layer_is_paid_for_on_both_sides() -> None:
    """An ANN of 50 + 20 products at 2 pJ; the host computes the 20 for the spiking network: 140 - 40 - 40 of 200 pJ."""
    chip = profile(
        f'scope = "per_term"\nsop = {price(2)}\nmac = {price(2)}\nneuron_active = {price(1)}\n'
        f"neuron_inactive = {price(1)}\n{HELD}"
    )
    line = ann_baseline(DenseMacs({"conv0": 20, "conv": 50}), chip).line()
    assert line is not None

    def factor(**host: int | None) -> Crossover:
        of = Counted(network().layers, (row("conv0", **host) | {"kind": "conv2d"},), 1, 4)
        layers = [{**layer, "spikes_out": 0} for layer in of.layers]
        snn = estimate(layers, chip, samples=1, timesteps=4, host_layers=of.host_layers)
        return crossover(snn, line, of)

    assert factor().factor == pytest.approx((140 - 40) / 200)
    assert factor(mac=80, mac_once=20).factor == pytest.approx((140 - 40 - 40) / 200)
    assert factor(mac=40).factor == pytest.approx((140 - 40 - 80) / 200), "not a still image: at every step"
    assert factor(mac=80).verdict == "never", "four steps of it cost more than the ANN"
    unknown = factor(mac=None, mac_once=None)
    assert unknown.at_most
    assert "the host's work" in unknown.note


def test_the_hosts_spikes_count_for_the_rate() -> None:
    encoder = row("lif0", spikes_out=32) | {"size": 10}
    of = Counted(network().layers, (encoder,), 1, 4)
    assert crossover(costs(of), amount(140), of).measured_rate == pytest.approx((8 + 32) / (20 * 4))


@settings(max_examples=60, deadline=None)
@given(
    sop=st.integers(1, 10**6),
    updates=st.tuples(st.integers(0, 10**5), st.integers(1, 10**5)),
    prices=st.tuples(*[st.floats(0.01, 100) for _ in range(4)]),
    numerator=st.integers(1, 12),
    denominator=st.integers(1, 12),
)
def test_at_the_crossover_both_energies_are_equal(
    sop: int, updates: tuple[int, int], prices: tuple[float, ...], numerator: int, denominator: int
) -> None:
    """Scale every event by k = p/q, price that with ``estimate``, take it for the ANN's energy: k comes back."""
    operation, update, message, hop = (price(round(value, 6)) for value in prices)
    chip = profile(
        f'scope = "per_term"\nsop = {operation}\nneuron_active = {update}\nneuron_inactive = {update}\n'
        f"spike_out = {message}\nmsg_local = {message}\nhop_x = {hop}\nhop_y = {hop}\n{HELD}"
    )
    base = {"sop": sop, "spikes_out": 3 + sop // 7, "messages": sop // 5, "hops": sop // 3}
    held = {"neuron_updates_active": updates[0], "neuron_updates_idle": updates[1]}

    def counted(by: int) -> Counted:  # over as many samples, so that counts stay whole
        spiking = row("lif", **{key: count * by for key, count in base.items()})
        rest = row("rest", **{key: count * denominator for key, count in held.items()}) | {"kind": "integrator"}
        return Counted((spiking | {"size": 10**7}, rest), (), denominator, 4)

    measured, scaled = (
        estimate(of.layers, chip, samples=of.samples, timesteps=4) for of in (counted(denominator), counted(numerator))
    )
    found = crossover(measured, scaled.dynamic, counted(denominator))
    assert found.verdict == "below"
    assert found.factor == pytest.approx(numerator / denominator, rel=1e-6)
    assert found.measured_rate is not None
    assert found.rate == pytest.approx(found.measured_rate * numerator / denominator, rel=1e-6)
    if updates[0]:
        assert found.exact
