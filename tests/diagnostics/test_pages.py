"""The pages behind the codes: every code has one, and it says four things."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neurodeploy.diagnostics import UnsupportedError, UsageError, codes, nearest, page

ROOT = Path(__file__).parents[2]
SECTIONS = ["What it means", "Why it matters", "Example", "How to fix"]


def codes_in_source() -> set[str]:
    found: set[str] = set()
    for folder in ("neurodeploy", "export"):
        for path in (ROOT / folder).rglob("*.py"):
            found.update(re.findall(r"\bND[0-9]{3}\b", path.read_text(encoding="utf-8")))
    return found


def test_codes_and_pages_are_the_same_set() -> None:
    assert set(codes()) == codes_in_source()


@pytest.mark.parametrize("code", codes())
def test_page_has_title_sections_and_an_example_of_its_own_code(code: str) -> None:
    text = page(code)
    first, *rest = text.splitlines()
    assert re.fullmatch(rf"# {code}: \S.*", first)
    assert [line.removeprefix("## ") for line in rest if line.startswith("## ")] == SECTIONS
    parts = re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]
    assert all(part.strip() for part in parts)
    assert re.search(rf"\b{code}\b", parts[SECTIONS.index("Example")])
    assert text.count("```") % 2 == 0


def test_titles_are_unique() -> None:
    titles = list(codes().values())
    assert len(set(titles)) == len(titles)


def test_page_takes_any_case_and_refuses_unknown_codes() -> None:
    assert page("nd101") == page("ND101")
    with pytest.raises(UsageError) as caught:
        page("ND10")
    assert caught.value.code == "ND101"
    assert "ND10" in caught.value.fix


def test_nearest() -> None:
    assert nearest("lohi2", ["nir", "loihi2"]) == "did you mean loihi2?"
    assert nearest("conv-rpm", ["conv-rmp", "conv-vanilla", "mlp-rmp"]).startswith("did you mean conv-rmp")
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
    assert nearest("a", []) == "none is known"
    assert nearest("aa", ["aab", "aac", "aad", "aae"], most=2).count(" or ") == 1


def test_an_error_as_json() -> None:
    error = UnsupportedError("ND258", "it can be checked only", where="--target truenorth", fix="--target nir")
    assert error.exit_code == 3
    assert error.to_json() == {
        "code": "ND258",
        "message": "it can be checked only",
        "where": "--target truenorth",
        "fix": "--target nir",
        "findings": [],
    }
