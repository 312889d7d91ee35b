"""The arithmetic of derived numbers: what it gives, and that nothing else can be written in it."""

from __future__ import annotations

import pytest

from neurodeploy.config.formula import MAX_LENGTH, evaluate, names


@pytest.mark.parametrize(
    ("formula", "given", "value"),
    [
        ("1e3 / gsops_per_w", {"gsops_per_w": 649}, 1000 / 649),
        ("-a + b", {"a": 2, "b": 5}, 3),
        ("a - b - c", {"a": 10, "b": 3, "c": 2}, 5),
        ("a / b / c", {"a": 12, "b": 3, "c": 2}, 2),
        ("a + b * c", {"a": 1, "b": 2, "c": 3}, 7),
        ("(a + b) * c", {"a": 1, "b": 2, "c": 3}, 9),
        ("7", {}, 7),
    ],
)
def test_values(formula: str, given: dict[str, float], value: float) -> None:
    assert evaluate(formula, given) == pytest.approx(value, rel=1e-15)
    assert names(formula) == set(given)


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("a ** 2", "may use"),
        ("a // 2", "may use"),
        ("a % 2", "may use"),
        ("abs(a)", "may use"),
        ("a.real", "may use"),
        ("[a][0]", "may use"),
        ("a if a else 1", "may use"),
        ("a < 1", "may use"),
        ("True + 1", "may use"),
        ("'3' + a", "may use"),
        ("1j * a", "may use"),
        ("__import__('os')", "may use"),
        ("a / 0", "divides by zero"),
        ("a / (a - a)", "divides by zero"),
        ("1e308 * 10", "no finite value"),
        ("b + 1", "uses b"),
        ("a +", "cannot be read"),
        ("a = 1", "cannot be read"),
        ("", "cannot be read"),
        ("\0", "cannot be read"),
        ("(" * MAX_LENGTH + "a", "at most"),
        ("(" * (MAX_LENGTH - 1) + "a", "cannot be read"),
        ("-" * (MAX_LENGTH - 1) + "a ", "at most"),
    ],
)
def test_refused(formula: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        evaluate(formula, {"a": 1})
