"""What a profile file may say, and that every number that ships names its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from neurodeploy.config.profile import Price, Quantity, load_profile, parse_profile, profile_names, profile_schema
from neurodeploy.diagnostics import UsageError

HEAD = 'schema = 1\n[chip]\nid = "x"\nname = "X"\n[energy]\nscope = "per_term"\n'
GOOD = '{ value = 1, unit = "pJ", basis = "measured", source = "s" }'


def refused(text: str) -> dict[str, str]:
    """Key -> rule of every finding."""
    with pytest.raises(UsageError) as caught:
        parse_profile(text, where="my.toml")
    assert caught.value.code == "ND112"
    assert caught.value.where == "my.toml"
    return {finding.node: finding.rule for finding in caught.value.findings}


def test_required_profiles_ship() -> None:
    assert {"loihi", "truenorth", "cmos45"} <= set(profile_names())


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_number_has_a_source(name: str) -> None:
    profile = load_profile(name)
    assert profile.chip.id == name
    stated = list(profile.quantities())
    assert stated
    for key, quantity in stated:
        if quantity.known:
            assert quantity.source, key
            assert quantity.basis, key
            assert quantity.read, key
            assert quantity.confidence, key
        else:
            assert quantity.note, f"{key} does not say why it is unknown"


@pytest.mark.parametrize("name", profile_names())
def test_short_names_in_sources_are_explained(name: str) -> None:
    """A reference that nobody cites is a leftover."""
    profile = load_profile(name)
    cited = " ".join(f"{q.source} {q.note}" for _, q in profile.quantities()) + profile.energy.operating_point
    if profile.energy_all_in is not None:
        cited += profile.energy_all_in.operating_point
    assert [key for key in profile.references if key not in cited] == []


def test_loihi2_publishes_no_price() -> None:
    prices = [q for key, q in load_profile("loihi2").quantities() if isinstance(q, Price)]
    assert prices
    assert not any(price.known for price in prices)


def test_good_price() -> None:
    profile = parse_profile(f"{HEAD}sop = {GOOD}", where="x")
    assert profile.energy.sop.amounts() == (1, 1, 1)
    assert not profile.energy.mac.known


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('sop = { value = 1, unit = "pJ", basis = "measured" }', "without a source"),
        ('sop = { value = 1, unit = "pJ", basis = "measured", source = " " }', "without a source"),
        ('sop = { value = 1, unit = "pJ", source = "s" }', "no basis"),
        ('sop = { value = 1, basis = "measured", source = "s" }', "unit ''"),
        ('sop = { value = 1, unit = "mW", basis = "measured", source = "s" }', "unit 'mW'"),
        ('sop = { value = 1, low = 2, unit = "pJ", basis = "measured", source = "s" }', "low 2 is above value 1"),
        ('sop = { value = 3, high = 2, unit = "pJ", basis = "measured", source = "s" }', "value 3 is above high 2"),
        ('sop = { value = -1, unit = "pJ", basis = "measured", source = "s" }', "at least 0"),
        ('sop = { value = true, unit = "pJ", basis = "measured", source = "s" }', "not a number"),
        ('sop = { value = 1, high = 2, bound = "lower", unit = "pJ", basis = "measured", source = "s" }', "contradict"),
        ("sop = { unknown = true, value = 1 }", "unknown = true beside value"),
        ('sop = { note = "?" }', "no value"),
    ],
)
def test_refused_entries(entry: str, words: str) -> None:
    assert words in refused(HEAD + entry)["energy.sop"]


def test_a_bare_number_is_refused() -> None:
    assert "energy.sop" in refused(f"{HEAD}sop = 23.6")


def test_all_errors_at_once() -> None:
    text = HEAD + "spo = 1\nmac = { value = 1 }\n[limits]\ncores = { value = 3 }\nkores = { unknown = true }\n[typo]\n"
    assert refused(text).keys() == {"energy.spo", "energy.mac", "limits.cores", "limits.kores", "typo"}


def test_unknown_key_suggests_the_near_one() -> None:
    with pytest.raises(UsageError) as caught:
        parse_profile(f"{HEAD}neuron_activ = {GOOD}", where="x")
    assert "neuron_active" in caught.value.findings[0].fix


def test_not_toml() -> None:
    with pytest.raises(UsageError, match="not TOML"):
        parse_profile("schema = ", where="x")


def test_names_and_paths(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"{HEAD}sop = {GOOD}")
    assert load_profile(path).chip.id == load_profile(str(path)).chip.id == "x"
    with pytest.raises(UsageError) as unknown:
        load_profile("lohi")
    assert unknown.value.code == "ND101"
    assert "loihi" in unknown.value.fix
    with pytest.raises(UsageError) as missing:
        load_profile(tmp_path / "missing.toml")
    assert missing.value.code == "ND112"


def test_schema_names_the_keys_of_a_number() -> None:
    schema = profile_schema()
    assert {"schema", "chip", "limits", "energy"} <= schema["properties"].keys()
    assert set(schema["$defs"]["Price"]["properties"]) == set(Quantity.model_fields)
