"""The numbers of the shipped profiles: each has its source, the derived are recomputed, the published typed again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from neurodeploy.cli import run
from neurodeploy.config.profile import Profile, Quantity, load_profile, profile_names
from neurodeploy.config.quantity import citations
from neurodeploy.energy import TERMS, estimate
from neurodeploy.sim.trace import COUNT_KEYS
from neurodeploy.targets.base import load_target
from neurodeploy.targets.check import core_limits

CHIPS = {
    "loihi", "loihi2", "truenorth", "spinnaker", "spinnaker2", "tianjic", "odin", "darwin3", "speck", "xylo",
    "brainscales2", "akida",
}  # fmt: skip
BASELINES = {"cmos45", "cmos45-fp32", "jetson-tx1", "cortex-m4"}

every_profile = pytest.mark.parametrize("name", sorted(CHIPS | BASELINES))


def at(profile: Profile, key: str) -> Quantity:
    return dict(profile.quantities())[key]


def test_every_chip_of_the_list_ships() -> None:
    assert set(profile_names()) == CHIPS | BASELINES
    assert {name for name in profile_names() if load_profile(name).chip.kind == "neuromorphic"} == CHIPS


@every_profile
def test_every_number_names_a_document_and_how_it_is_known(name: str) -> None:
    profile = load_profile(name)
    assert profile.chip.id == name
    assert profile.chip.year
    assert profile.energy.includes, "what a price includes"
    for key, number in profile.quantities():
        if not number.known:
            assert number.note, f"{key}: why is it unknown"
            continue
        cited = citations(number.source)
        assert cited, key
        assert set(cited) <= profile.references.keys(), f"{key}: {number.source}"
        assert number.basis, key
        assert number.read, key
        assert number.confidence, key
        assert number.read != "memory" or number.confidence != "high", f"{key}: recalled, and certain?"
        for end in ("low", "high"):
            if getattr(number, end) not in (None, number.value) and number.unit != "bit":
                told = f"{end}:" in number.source or end in number.formulas or end in number.note
                assert told, f"{key}: where does its {end} come from"


@every_profile
def test_derived_numbers_are_recomputed(name: str) -> None:
    """Every number with basis "derived" says from which numbers and how; the result is the number that is printed."""
    for key, number in load_profile(name).quantities():
        if number.basis == "derived":
            assert number.formula, key
            assert number.given, key
        for end, result in number.derived().items():
            assert result == pytest.approx(getattr(number, end), rel=0.005), f"{key} {end}"


@pytest.mark.parametrize(
    ("name", "key", "value", "low", "high"),
    [
        # Davies et al. 2018, Table 2
        ("loihi", "energy.sop", 23.6, 23.6, 35.5),
        ("loihi", "energy.neuron_active", 81, 72.8, 81),
        ("loihi", "energy.neuron_inactive", 52, 51.2, 52),
        ("loihi", "energy.msg_local", 1.7, None, None),
        ("loihi", "energy.hop_x", 3.0, None, None),
        ("loihi", "energy.hop_y", 4.0, 4.0, 4.2),
        ("loihi", "energy.stdp_update", 120, None, None),
        # Merolla et al. 2014: 72 mW at 20 Hz and 128 synapses
        ("truenorth", "energy_all_in.sop", 26, None, None),
        # SENECA, Table 3
        ("tianjic", "energy.sop", 1.54, None, None),
        ("spinnaker2", "energy.sop", 450, 10, 450),
        # keras_spiking 0.3.0, and the other two sources
        ("spinnaker", "energy.sop", 13.3, 8, 26.6),
        ("spinnaker", "energy.neuron_active", 26, None, None),
        # Frenkel et al. 2019
        ("odin", "energy.sop", 8.43, None, None),
        ("odin", "energy_all_in.sop", 12.7, 12.7, 54),
        ("darwin3", "energy.sop", 5.47, None, None),
        # Horowitz 2014
        ("cmos45", "energy.mac", 0.3, 0.23, 0.3),
        ("cmos45", "energy.sop", 0.1, 0.03, 0.1),
        ("cmos45-fp32", "energy.mac", 4.6, None, None),
        ("cmos45-fp32", "energy.sop", 0.9, None, None),
        ("cmos45", "memory.sram_8kB", 10, None, None),
        ("speck", "power.static_chip_mW", 0.42, None, None),
        ("xylo", "power.static_chip_mW", 219, None, None),
    ],
)
def test_published_numbers(name: str, key: str, value: float, low: float | None, high: float | None) -> None:
    number = at(load_profile(name), key)
    assert (number.value, number.low, number.high) == (value, low, high)


def test_truenorth_slope_and_intercept() -> None:
    """A straight line through the end points of akopyan2015 Fig. 17; a least-squares line lies within its range."""
    hertz, milliwatts = np.array([11.58, 20.07, 95.93]), np.array([68.0, 71.0, 94.0])
    operations = hertz * 4096 * 256 * 128
    slopes = np.diff(milliwatts) / np.diff(operations) * 1e9  # mW / (1/s) = 1e9 pJ
    fitted, intercept = np.polyfit(operations, milliwatts, 1)
    profile = load_profile("truenorth")
    sop = at(profile, "energy.sop")
    assert sop.high == pytest.approx(slopes[0], rel=0.005)
    assert sop.low == pytest.approx(slopes[1], rel=0.005)
    assert sop.value == pytest.approx(fitted * 1e9, rel=0.02)
    assert at(profile, "power.static_chip_mW").value == pytest.approx(intercept, rel=0.01)


def conv(out: int, kernel: int, c_in: int, c_out: int) -> int:
    return out * out * kernel * kernel * c_in * c_out


def test_multiplies_of_the_microcontroller_networks() -> None:
    """ResNet-8 (32x32x3) and MobileNetV1 0.25 (96x96x3), layer by layer, every border zero-padded."""
    resnet8 = conv(32, 3, 3, 16) + 2 * conv(32, 3, 16, 16)
    for size, c_in, c_out in ((16, 16, 32), (8, 32, 64)):
        resnet8 += conv(size, 3, c_in, c_out) + conv(size, 3, c_out, c_out) + conv(size, 1, c_in, c_out)
    resnet8 += 64 * 10
    blocks = [(48, 8, 48, 16), (48, 16, 24, 32), (24, 32, 24, 32), (24, 32, 12, 64), (12, 64, 12, 64), (12, 64, 6, 128)]
    blocks += [(6, 128, 6, 128)] * 5 + [(6, 128, 3, 256), (3, 256, 3, 256)]
    mobilenet = conv(48, 3, 3, 8) + 256 * 2
    mobilenet += sum(out * out * 9 * c_in + conv(out, 1, c_in, c_out) for _, c_in, out, c_out in blocks)
    given = at(load_profile("cortex-m4"), "energy.mac").given
    assert (given["resnet8_macs"], given["mobilenet_macs"]) == (resnet8, mobilenet)


def test_multiplies_of_the_keyword_network() -> None:
    given = at(load_profile("jetson-tx1"), "energy.mac").given
    assert given["macs"] == 390 * 256 + 256 * 256 + 256 * 29
    assert given["watts"] / given["rate"] == pytest.approx(given["joules"], rel=0.005), "two columns of one table"


def test_odin_prices_agree_with_each_other() -> None:
    """Incremental price plus static power over the operation rate is the published all-in price."""
    profile = load_profile("odin")
    incremental, _, _ = profile.energy.sop.amounts()
    static_mw, _, _ = profile.power.static_chip_mW.amounts()
    assert profile.energy_all_in is not None
    assert incremental + static_mw * 1e9 / 37.5e6 == pytest.approx(profile.energy_all_in.sop.amounts()[0], rel=0.005)


def test_an_int8_multiply_accumulate_costs_less_than_an_fp32_accumulate() -> None:
    """Why the two lines are two files: mixed, they would make any ratio."""
    int8, fp32 = load_profile("cmos45").energy, load_profile("cmos45-fp32").energy
    assert int8.mac.amounts()[2] < fp32.sop.amounts()[0]  # type: ignore[operator]
    for arithmetic in (int8, fp32):
        assert arithmetic.mac.amounts()[0] > arithmetic.sop.amounts()[0]
        assert not arithmetic.mem_access.known, "which memory is the designer's choice"
        assert load_profile("cmos45").memory["sram_8kB"].amounts()[0] > arithmetic.mac.amounts()[0]


def test_chips_without_a_multiplier_have_no_price_for_it() -> None:
    for name in ("loihi", "truenorth", "odin", "speck", "xylo"):
        mac = load_profile(name).energy.mac
        assert not mac.known, name
        assert "no MAC unit" in mac.note, name


def test_conventional_lines_price_multiplies_only() -> None:
    for name in ("jetson-tx1", "cortex-m4"):
        profile = load_profile(name)
        assert profile.energy.mac.known
        assert not profile.energy.sop.known
        assert profile.energy.scope != "per_term", "one measured price holds memory and control"
    order = [load_profile(n).energy.mac.amounts()[0] for n in ("cmos45", "cmos45-fp32", "cortex-m4", "jetson-tx1")]
    assert order == sorted(order)


@every_profile
def test_a_mesh_holds_the_cores(name: str) -> None:
    limits = load_profile(name).limits
    if limits.mesh_x is None:
        assert limits.mesh_y is None
        assert limits.cores_per_tile is None
        return
    assert limits.cores
    assert limits.mesh_y
    assert limits.cores_per_tile
    sides = [number.value for number in (limits.mesh_x, limits.mesh_y, limits.cores_per_tile)]
    assert all(isinstance(side, int) for side in sides)
    assert np.prod(sides) == limits.cores.value


@every_profile
def test_prices_and_limits_are_usable(name: str) -> None:
    """An estimate charges exactly what the profile says has a price; placement reads its limits."""
    counts = {"name": "layer", "kind": "lif", "size": 1, **dict.fromkeys(COUNT_KEYS, 1)}
    profile = load_profile(name)
    made = estimate([counts], name, samples=1, timesteps=1)
    own = {key: state for key, state in profile.priced().items() if key not in ("hop_y", "offchip_msg", "static")}
    own["hop"] = own.pop("hop_x")
    assert set(TERMS) <= set(own)
    assert {term.key for term in made.terms} == {key for key, state in own.items() if state == "priced"}
    assert {u.key for u in made.unpriced} - {"static"} == {key for key, state in own.items() if state == "unknown"}
    limits = core_limits(load_target("loihi2"), name)
    for number in (limits.neurons, limits.cores, limits.axons_in, limits.fan_in, limits.weight_bits):
        assert number is None or number > 0


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["list", "profiles", *words]) == 0
    return capsys.readouterr().out


def test_one_line_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    lines = {line.split()[0]: line for line in listed(capsys).splitlines() if line.split()}
    assert set(profile_names()) <= set(lines)
    assert len([line for line in lines if not line.startswith("─")]) == len(profile_names()) + 1, "and the heading"
    words = {name: " ".join(line.split()) for name, line in lines.items()}
    assert words["loihi"].startswith(
        "loihi Intel Loihi 2018 per_term sop, neuron, msg_local, hop, static sop_graded, mac"
    )
    assert words["loihi2"] == "loihi2 Intel Loihi 2 2021 per_term - every term"
    assert words["truenorth"] == "truenorth IBM TrueNorth 2014 marginal sop, static sop_graded, mac"


def test_json_says_what_is_priced(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in json.loads(listed(capsys, "--json"))["result"]["items"]}
    assert rows["odin"]["priced"] == ["sop", "static"]
    assert rows["odin"]["unknown"] == ["sop_graded", "mac"]
    assert "neuron_active" in rows["odin"]["inside"]
    assert (rows["cortex-m4"]["kind"], rows["cortex-m4"]["year"]) == ("conventional", 2022)
    assert "supply" in rows["cortex-m4"]["includes"]


def test_sources_print_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    """As text and as JSON: chip, number, range, unit, basis, confidence, source; and the formula of what is derived."""
    text = listed(capsys, "--sources")
    blocks = {block.split(":")[0]: block for block in text.split("\n\n") if not block.startswith(" ")}
    rows = {row["name"]: row for row in json.loads(listed(capsys, "--sources", "--json"))["result"]["items"]}
    assert set(rows) == set(profile_names()) <= set(blocks)
    flat = " ".join(text.split())
    for name, row in rows.items():
        profile = load_profile(name)
        assert f"{name}: {profile.chip.name}" in flat
        for number, (key, stated) in zip(row["numbers"], profile.quantities(), strict=True):
            assert number["key"] == key
            if stated.known:
                assert {"value", "basis", "confidence", "source"} <= number.keys(), key
                assert stated.low is None or number["low"] == stated.low
            assert f" {key} " in flat
        for reference, title in profile.references.items():
            assert f"{reference}: {' '.join(title.split())}" in flat
    assert "[value = 1e3 / gsops_per_w; with gsops_per_w 649]" in flat
