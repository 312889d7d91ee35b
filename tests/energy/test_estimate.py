"""Hand-worked estimates: every number here can be checked with a pencil."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from priced import HELD, price, profile, row

from neurodeploy.diagnostics import UsageError
from neurodeploy.energy import TERMS, estimate
from neurodeploy.sim.trace import COUNT_KEYS, LayerCounts


def test_loihi_by_hand() -> None:
    """2 samples, 4 steps: 100 SOP, 20 active and 30 idle updates, 3 messages, 2 hops per inference, nothing unknown."""
    layer = row(sop=200, neuron_updates_active=40, neuron_updates_idle=60, messages=6, hops=4)
    e = estimate([layer], "loihi", samples=2, timesteps=4, chips=1)
    by_term = e.by_term()
    assert by_term["sop"].pj == pytest.approx(100 * 23.6)
    assert by_term["neuron_active"].pj == pytest.approx(20 * 81)
    assert by_term["neuron_inactive"].pj == pytest.approx(30 * 52)
    assert by_term["msg_local"].pj == pytest.approx(3 * 1.7)
    assert by_term["hop"].pj == pytest.approx(2 * 3.5), "mean of 3.0 east-west and 4.0 north-south"
    assert (by_term["hop"].low_pj, by_term["hop"].high_pj) == (pytest.approx(6.0), pytest.approx(8.4))
    assert e.dynamic.pj == pytest.approx(2360 + 1620 + 1560 + 5.1 + 7)
    assert e.dynamic.low_pj == pytest.approx(2360 + 20 * 72.8 + 30 * 51.2 + 5.1 + 6)
    assert e.dynamic.high_pj == pytest.approx(100 * 35.5 + 1620 + 1560 + 5.1 + 8.4)
    assert e.unpriced == ()
    assert not e.dynamic_is_lower_bound
    assert (e.basis, e.confidence) == ("derived", "medium"), "static power is derived; the prices alone are simulated"


def test_static_energy_in_real_time_and_at_the_fastest_step() -> None:
    """Loihi: 104 mW for 4 steps of 1 ms is 416 uJ; for 4 steps of 5.8 us, 2.41 uJ. Two chips take twice that."""
    e = estimate([row(sop=1)], "loihi", samples=1, timesteps=4, chips=2)
    assert e.static is not None
    assert e.static.fastest is not None
    assert e.static.real_time.pj == pytest.approx(2 * 416e6)
    assert e.static.real_time.low_pj == pytest.approx(2 * 4 * 29e6)
    assert e.static.fastest.pj == pytest.approx(2 * 104 * 4 * 5.8e-6 * 1e9)
    assert (e.static.chips_assumed, e.static.chips_from) == (False, "given")
    placed = estimate([row(sop=1)], "loihi", samples=1, timesteps=4, chips=2, chips_from="loihi2").static
    assert placed is not None
    assert placed.chips_from == "loihi2"
    assert e.total.pj == pytest.approx(e.dynamic.pj + 2 * 416e6)


def test_unknown_chips_count_as_one_and_say_so() -> None:
    e = estimate([row(sop=1)], "loihi", samples=1, timesteps=4)
    assert e.static is not None
    assert (e.static.chips, e.static.chips_assumed, e.static.chips_from) == (1, True, "assumed")
    assert "1 assumed" in e.static_note


def test_unknown_price_is_unpriced_and_makes_a_lower_bound() -> None:
    e = estimate([row(sop=10, spikes_out=3)], "loihi", samples=1, timesteps=1)
    assert [(u.key, u.count) for u in e.unpriced] == [("spike_out", 3.0)]
    assert "fits 69.3 pJ" in e.unpriced[0].reason
    assert e.dynamic_is_lower_bound
    assert e.total_is_lower_bound
    assert e.dynamic.pj == pytest.approx(236)


def test_unknown_count_is_unpriced() -> None:
    e = estimate([row(sop=10, messages=None, hops=None)], "loihi", samples=1, timesteps=1)
    assert e.unpriced_keys() == {
        "msg_local": "messages not counted: no placement on cores",
        "hop": "hops not counted: no placement of cores on the mesh",
    }
    assert e.dynamic_is_lower_bound


def test_zero_count_needs_no_price() -> None:
    e = estimate([row(sop=10)], "loihi", samples=1, timesteps=1)
    assert e.unpriced == ()


def test_marginal_adds_static_power_only() -> None:
    """TrueNorth: 1000 SOP at 2.30 pJ; neuron, spike, message and hop work is inside that slope."""
    layer = row(sop=1000, neuron_updates_active=99, neuron_updates_idle=99, spikes_out=99, messages=99, hops=99)
    e = estimate([layer], "truenorth", samples=1, timesteps=4, chips=1)
    assert e.by_term().keys() == {"sop"}
    assert (e.dynamic.pj, e.dynamic.low_pj, e.dynamic.high_pj) == pytest.approx((2300, 2260, 2630))
    assert set(e.not_charged) == {"neuron_active", "neuron_inactive", "spike_out", "msg_local", "hop", "mem_access"}
    assert not e.dynamic_is_lower_bound
    assert e.static is not None
    assert e.static.real_time.pj == pytest.approx(64.4 * 4e-3 * 1e9)


def test_marginal_without_a_mac_unit_leaves_macs_unpriced() -> None:
    e = estimate([row(sop=1, mac=5)], "truenorth", samples=1, timesteps=1, chips=1)
    assert e.unpriced_keys().keys() == {"mac"}


def test_all_in_adds_nothing_and_peak_figures_are_lower_bounds() -> None:
    layer = row(sop=1000, neuron_updates_active=9, neuron_updates_idle=9, spikes_out=9, messages=9, hops=None)
    e = estimate([layer], "tianjic", samples=1, timesteps=4, chips=1)
    assert e.dynamic.pj == pytest.approx(1540)
    assert e.dynamic.high_pj is None
    assert e.dynamic_is_lower_bound
    assert e.static is None
    assert e.static_note == "inside sop (scope all_in)"
    assert e.unpriced == (), "static power is inside, not missing"


def test_all_in_ignores_even_a_price_that_is_there() -> None:
    chip = profile(
        f'scope = "all_in"\nsop = {price(2)}\nneuron_active = {price(100)}\nhop_x = {price(1)}\nhop_y = {price(1)}'
    )
    e = estimate([row(sop=10, neuron_updates_active=10, hops=10)], chip, samples=1, timesteps=1)
    assert e.dynamic.pj == pytest.approx(20)


def test_inside_is_not_charged_twice() -> None:
    chip = profile(f'scope = "per_term"\nsop = {price(2)}\nmsg_local = {price(7, inside="sop")}\n{HELD}')
    e = estimate([row(sop=10, messages=10)], chip, samples=1, timesteps=1)
    assert e.dynamic.pj == pytest.approx(20)
    assert e.not_charged == {"msg_local": "inside sop", "mem_access": "inside sop"}
    assert not e.dynamic_is_lower_bound


def test_memory_is_a_term_of_its_own_where_no_price_holds_it() -> None:
    """7 spikes' weights, 2 multiplications' and 3 states read and written are 15 accesses of 10 pJ."""
    layers = [row("conv", sop=5, sop_graded=2, mac=2), row("lif", neuron_updates_active=3, neuron_updates_idle=9)]
    prices = "\n".join(
        f"{key} = {price(0)}" for key in ("sop", "sop_graded", "mac", "neuron_active", "neuron_inactive")
    )
    chip = profile(f'scope = "per_term"\n{prices}\nmem_access = {price(10)}')
    e = estimate(layers, chip, samples=1, timesteps=1)
    assert {(t.layer, t.key): t.count for t in e.terms if t.key == "mem_access"} == {
        ("conv", "mem_access"): 9,
        ("lif", "mem_access"): 6,
    }
    assert e.dynamic.pj == pytest.approx(150)
    assert estimate(layers, profile(f'scope = "per_term"\n{prices}\n{HELD}'), samples=1, timesteps=1).dynamic.pj == 0


def test_memory_that_nobody_priced_makes_a_lower_bound() -> None:
    e = estimate([row(sop=5)], profile(f'scope = "per_term"\nsop = {price(2)}'), samples=1, timesteps=1)
    assert {u.key: u.count for u in e.unpriced} == {"mem_access": 5, "static": None}
    assert e.dynamic_is_lower_bound


def test_messages_between_chips_are_there_and_not_counted() -> None:
    one, two = (estimate([row(sop=1, messages=3)], "loihi", samples=1, timesteps=1, chips=n) for n in (1, 2))
    assert "offchip_msg" not in one.unpriced_keys()
    assert "no placement of populations on chips" in two.unpriced_keys()["offchip_msg"]
    assert "offchip_msg" in estimate([row(messages=3)], "truenorth", samples=1, timesteps=1, chips=2).not_charged
    assert "offchip_msg" not in estimate([row(sop=3)], "loihi", samples=1, timesteps=1, chips=2).unpriced_keys()


def test_units_are_converted() -> None:
    chip = profile(f'scope = "per_term"\nsop = {price(8, unit="nJ")}')
    assert estimate([row(sop=3)], chip, samples=1, timesteps=1).dynamic.pj == pytest.approx(24_000)


def test_weakest_basis_and_confidence_of_what_was_used() -> None:
    energy = f"""scope = "per_term"
sop = {price(1, basis="measured")}
mac = {price(1, basis="estimated", confidence="low")}
neuron_active = {price(1, basis="derived", confidence="medium")}"""
    chip = profile(energy)
    used = estimate([row(sop=1, neuron_updates_active=1)], chip, samples=1, timesteps=1)
    assert (used.basis, used.confidence) == ("derived", "medium")
    assert {tag.key: tag.source for tag in used.prices} == {"sop": "s", "neuron_active": "s"}


def test_loihi2_has_no_price_without_the_proxy() -> None:
    layer = row(sop=100, neuron_updates_active=10)
    bare = estimate([layer], "loihi2", samples=1, timesteps=1)
    assert bare.terms == ()
    assert bare.dynamic.pj == 0
    assert bare.unpriced_keys().keys() == {"sop", "neuron_active", "mem_access", "static"}
    assert (bare.basis, bare.proxy) == (None, None)
    proxied = estimate([layer], "loihi2", samples=1, timesteps=1, allow_proxy=True)
    assert proxied.dynamic.pj == pytest.approx(100 * 23.6 + 10 * 81)
    assert (proxied.proxy, proxied.basis, proxied.confidence) == ("loihi", "estimated", "low")
    assert all(tag.source.startswith("PROXY loihi: ") for tag in proxied.prices)
    assert proxied.unpriced_keys().keys() == {"static"}
    assert proxied.not_charged == {"mem_access": "inside sop of the proxy loihi"}


def test_host_work_is_flagged_and_never_in_the_total() -> None:
    """A static image: 50 MACs once, 200 over four steps, for 2 samples at 0.3 pJ."""
    chip = profile(f'scope = "per_term"\nsop = {price(0.1)}\nmac = {price(0.3)}\n{HELD}')
    host = [row("conv1", mac=400, mac_once=100)]
    with_price = estimate([row(sop=2)], chip, samples=2, timesteps=4, host_layers=host)
    without = estimate([row(sop=2)], "loihi", samples=2, timesteps=4, host_layers=host)
    assert with_price.host is not None
    assert with_price.host.energy is not None
    assert (with_price.host.mac, with_price.host.mac_once) == (200, 50)
    assert with_price.host.energy.pj == pytest.approx(15)
    assert with_price.dynamic.pj == pytest.approx(0.1)
    assert without.host is not None
    assert without.host.energy is None
    assert "not priced" in without.host.note


def test_layers_and_terms_add_up() -> None:
    layers = [row("a", sop=10, neuron_updates_active=1), row("b", sop=5, neuron_updates_idle=2)]
    chip = profile(
        f'scope = "per_term"\nsop = {price(0.1)}\nneuron_active = {price(0.2)}\nneuron_inactive = {price(0.2)}\n{HELD}'
    )
    e = estimate(layers, chip, samples=1, timesteps=1)
    assert {name: a.pj for name, a in e.by_layer().items()} == pytest.approx({"a": 1.2, "b": 0.9})
    assert sum(a.pj for a in e.by_term().values()) == pytest.approx(e.dynamic.pj)


def test_takes_counts_of_a_trace() -> None:
    steps = {key: np.array([3, 4]) if key == "sop" else np.zeros(2, np.int64) for key in COUNT_KEYS}
    e = estimate([LayerCounts("conv", "conv2d", 5, steps)], "truenorth", samples=7, timesteps=2, chips=1)
    assert e.dynamic.pj == pytest.approx(2.30)


def test_every_count_of_a_term_exists() -> None:
    assert set(TERMS.values()) <= set(COUNT_KEYS)


def test_to_json_is_plain(tmp_path: Path) -> None:
    import json

    e = estimate([row(sop=1, spikes_out=1)], "loihi", samples=1, timesteps=4)
    written = json.loads(json.dumps(e.to_json()))
    assert written["total_is_lower_bound"] is True
    assert written["dynamic"]["pj"] == pytest.approx(23.6)


@pytest.mark.parametrize(
    ("scope", "inherit", "why"),
    [
        ("all_in", "loihi", "prices of loihi are per_term, of x all_in"),
        ("per_term", "truenorth", "prices of truenorth are marginal, of x per_term"),
        ("per_term", "nope", "no such profile: nope"),
    ],
)
def test_a_proxy_that_cannot_stand_in_is_refused(scope: str, inherit: str, why: str) -> None:
    """Loihi's 23.6 pJ per operation leave the updates out; charged as all-in, the updates would cost nothing."""
    bare = profile(f'scope = "{scope}"', rest=f'[proxy]\ninherit = "{inherit}"')
    assert estimate([row(sop=1)], bare, samples=1, timesteps=1).terms == (), "nobody asked for it"
    with pytest.raises(UsageError, match=why) as caught:
        estimate([row(sop=1)], bare, samples=1, timesteps=1, allow_proxy=True)
    assert caught.value.where == "x, [proxy] inherit"
