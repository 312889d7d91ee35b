"""Rules of a profile file beyond those of tests/energy/test_profile.py: source keys, formulas, units of limits."""

from __future__ import annotations

import pytest

from neurodeploy.config.profile import parse_profile
from neurodeploy.config.quantity import citations
from neurodeploy.diagnostics import UsageError

HEAD = 'schema = 1\n[chip]\nid = "x"\nname = "X"\n'
ENERGY = '[energy]\nscope = "per_term"\n'
REFERENCES = '[references]\ndoe2025 = "Doe"\nchip-docs = "Documentation"\n'


def price(**fields: str) -> str:
    words = {"value": "2", "unit": '"pJ"', "basis": '"measured"', "source": '"s"'} | fields
    return "sop = { " + ", ".join(f"{key} = {text}" for key, text in words.items()) + " }\n"


def findings(text: str) -> dict[str, str]:
    """Key -> rule of every finding; empty for a good file."""
    try:
        parse_profile(text, where="my.toml")
    except UsageError as error:
        return {finding.node: f"{error.code} {finding.rule}" for finding in error.findings}
    return {}


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ("doe2025 Table 2 p.96", ["doe2025"]),
        ("doe2025: a slope; low: chip-docs, section 3; value: roe2024", ["doe2025", "chip-docs", "roe2024"]),
        ("chip-docs (page 3)", ["chip-docs"]),
        ("Doe 2025, Table 2", ["Doe"]),
        ("doe2025;", ["doe2025", ""]),
    ],
)
def test_citations(source: str, keys: list[str]) -> None:
    assert citations(source) == keys


@pytest.mark.parametrize(
    "source", ["doe2025", "doe2025 p.1; high: chip-docs", "int32 add of Doe", "a test", "Doe 2025"]
)
def test_known_keys_and_prose_are_taken(source: str) -> None:
    assert findings(HEAD + REFERENCES + ENERGY + price(source=f'"{source}"')) == {}


@pytest.mark.parametrize(
    ("source", "unknown"),
    [("deo2025 p.1", "deo2025"), ("doe2025; low: chip-doc", "chip-doc"), ("doe2025, p.1; roe2024b", "roe2024b")],
)
def test_a_source_key_outside_references_is_refused(source: str, unknown: str) -> None:
    rule = findings(HEAD + REFERENCES + ENERGY + price(source=f'"{source}"'))["energy.sop"]
    assert rule == f"ND112 source key {unknown!r} is not in [references]"


def test_a_name_with_a_year_needs_references() -> None:
    text = HEAD + ENERGY + price(source='"doe2025 Table 2"')
    assert "doe2025" in findings(text)["energy.sop"]
    assert findings(text.replace("doe2025", "in-house")) == {}, "a hyphen is a key only where there are keys"


def test_source_keys_are_refused_with_all_else_at_once() -> None:
    text = HEAD + REFERENCES + ENERGY + price(source='"deo2025"', low="3") + "hop = 1\n"
    found = findings(text)
    assert found.keys() == {"energy.sop", "energy.hop"}
    assert "low 3 is above value 2" in found["energy.sop"]
    assert "deo2025" in found["energy.sop"]


@pytest.mark.parametrize("basis", ["guessed", "", "Measured"])
def test_unknown_basis(basis: str) -> None:
    assert "measured" in findings(HEAD + ENERGY + price(basis=f'"{basis}"'))["energy.sop.basis"]


def test_formulas_that_agree() -> None:
    entry = price(
        low="1.99",
        high="4",
        formula='"a * b"',
        formula_low='"a * b - c"',
        formula_high='"2 * a * b"',
        given="{ a = 4, b = 0.5, c = 0.01 }",
    )
    profile = parse_profile(HEAD + ENERGY + entry, where="x")
    assert profile.energy.sop.derived() == pytest.approx({"value": 2, "low": 1.99, "high": 4})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"formula": '"a"', "given": "{ a = 2.011 }"}, "formula 'a' gives 2.011, value says 2"),
        ({"formula_low": '"a"', "given": "{ a = 2 }"}, "a formula for low, which is not a number"),
        ({"high": "3", "formula_high": '"a"', "given": "{ a = 4 }"}, "gives 4, high says 3"),
        ({"formula": '"a + b"', "given": "{ a = 2 }"}, "uses b"),
        ({"formula": '"2"', "given": "{ a = 2 }"}, "given a: no formula uses it"),
        ({"given": "{ a = 2 }"}, "given a: no formula uses it"),
        ({"formula": '"a ** 1"', "given": "{ a = 2 }"}, "may use"),
    ],
)
def test_refused_formulas(fields: dict[str, str], words: str) -> None:
    assert words in findings(HEAD + ENERGY + price(**fields))["energy.sop"]


def test_agreement_is_half_a_percent() -> None:
    assert findings(HEAD + ENERGY + price(formula='"a"', given="{ a = 2.009 }")) == {}


def test_unknown_beside_a_formula() -> None:
    rule = findings(HEAD + ENERGY + 'sop = { unknown = true, formula = "a", given = { a = 1 } }\n')["energy.sop"]
    assert "unknown = true beside formula, given" in rule


@pytest.mark.parametrize(
    ("key", "unit", "allowed"),
    [
        ("cores", "", True),
        ("cores", "cores", True),
        ("cores", "kB", False),
        ("neurons_per_core", "neurons", True),
        ("synapse_mem_per_core_kB", "kB", True),
        ("synapse_mem_per_core_kB", "MB", False),
        ("weight_bits", "bit", True),
        ("weight_bits", "byte", False),
        ("max_fan_out", "layers", True),
        ("max_fan_in", "pJ", False),
        ("reset", "V", False),
    ],
)
def test_units_of_limits(key: str, unit: str, allowed: bool) -> None:
    found = findings(f'{HEAD}[limits]\n{key} = {{ value = 3, unit = "{unit}", source = "s" }}\n{ENERGY}')
    assert (found == {}) == allowed
    assert allowed or found[f"limits.{key}"].startswith(f"ND112 unit {unit!r}")


def test_power_and_time_have_their_own_units() -> None:
    power = '[power]\nstatic_chip_mW = { value = 1, unit = "pJ", basis = "measured", source = "s" }\n'
    assert "unit 'pJ'" in findings(HEAD + ENERGY + power)["power.static_chip_mW"]
    time = 'timestep_s = { value = 1, unit = "mW", basis = "measured", source = "s" }\n'
    assert "unit 'mW'" in findings(HEAD + time + ENERGY)["chip.timestep_s"]


@pytest.mark.parametrize(
    ("scope", "mark", "expected"),
    [
        ("per_term", "", {"sop": "priced", "spike_out": "priced", "mac": "unknown", "static": "unknown"}),
        ("per_term", ', inside = "sop"', {"sop": "priced", "spike_out": "inside"}),
        ("marginal", "", {"sop": "priced", "spike_out": "inside", "mac": "unknown", "hop_x": "inside"}),
        ("all_in", "", {"sop": "priced", "spike_out": "inside", "mac": "unknown", "static": "inside"}),
    ],
)
def test_what_has_a_price_of_its_own(scope: str, mark: str, expected: dict[str, str]) -> None:
    good = 'value = 1, unit = "pJ", basis = "measured", source = "s"'
    text = f'{HEAD}[energy]\nscope = "{scope}"\nsop = {{ {good} }}\nspike_out = {{ {good}{mark} }}\n'
    terms = parse_profile(text, where="x").priced()
    assert {key: terms[key] for key in expected} == expected
    assert "stdp_update" not in terms


@pytest.mark.parametrize("key", ["energy.sop", "power.static_chip_mW", "limits.cores", "chip.timestep_s"])
def test_a_bare_number_is_told_what_to_write(key: str) -> None:
    table, name = key.split(".")
    parts = {"chip": HEAD, "energy": ENERGY, "limits": "[limits]\n", "power": "[power]\n"}
    parts[table] += f"{name} = 3.5\n"
    rule = "ND112 3.5 stands alone; write { value = …, source = … } or { unknown = true }"
    assert findings("".join(parts.values())) == {key: rule}


def test_a_bare_table_is_told_so() -> None:
    assert findings("schema = 1\nchip = 3\n" + ENERGY) == {"chip": "ND112 3 stands alone; write a table"}


@pytest.mark.parametrize("value", ["nan", "inf", "[1, 2]", "{ a = 1 }"])
def test_what_is_no_value_is_one_finding(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_profile(HEAD + ENERGY + price(value=value), where="my.toml")
    (found,) = caught.value.findings
    assert found.node == "energy.sop.value"
    assert "neither a finite number, nor a word" in found.rule
