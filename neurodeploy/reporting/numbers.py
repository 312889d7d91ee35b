"""Numbers as people read them: three significant digits, SI prefixes, ``mean ± std``, ``≥`` for lower bounds."""

from __future__ import annotations

import math
from collections.abc import Callable

from neurodeploy.reporting.statistics import Statistic

_ENERGY_PREFIXES = ((1e12, "J"), (1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1.0, "pJ"))
_TIME_PREFIXES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def digits(value: float, significant: int = 3) -> str:
    """``value`` with so many significant digits, thousands separated, without an exponent: 1234.5 → 1,234."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    # The exponent after rounding: 0.9996 has that of 1.00.
    exponent = int(f"{value:.{significant - 1}e}".partition("e")[2])
    decimals = max(0, significant - 1 - exponent)
    return f"{value:,.{min(decimals, 12)}f}"


def _with_prefix(value: float, prefixes: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    for scale, unit in prefixes:
        # 0.9995 rounds to 1.00: take the larger unit already there, so that "1,000 pJ" is never printed.
        if abs(value) >= 0.9995 * scale:
            return scale, unit
    return prefixes[-1]


def energy(pj: float) -> str:
    """416e6 → ``416 µJ``."""
    scale, unit = _with_prefix(pj, _ENERGY_PREFIXES)
    return f"{digits(pj / scale)} {unit}"


def count(value: float) -> str:
    """2582282 → ``2.58 M``; below ten thousand every digit."""
    if value < 9_999.5:
        return f"{value:,.0f}" if value >= 100 or value == round(value) else digits(value)
    scale, unit = next(((s, u) for s, u in ((1e12, "T"), (1e9, "G"), (1e6, "M")) if value >= 0.9995 * s), (1e3, "k"))
    return f"{digits(value / scale)} {unit}"


def count_stat(stat: Statistic) -> str:
    """``2.58 ± 0.34 M``; both in the unit of the mean."""
    mean, _, unit = count(stat.mean).partition(" ")
    scale = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}.get(unit, 1.0)
    spread = "" if stat.std is None else f" ± {_like(stat.std / scale, mean)}"
    return f"{mean}{spread} {unit}".rstrip()


def energy_unit(pj: float) -> tuple[float, str]:
    """``(pJ in the unit, the unit)`` that :func:`energy` would print this in."""
    return _with_prefix(pj, _ENERGY_PREFIXES)


def energy_stat(stat: Statistic, *, at_least: bool = False) -> str:
    """``≥ 1.58 ± 0.02 nJ``; both in the unit of the mean."""
    scale, unit = _with_prefix(stat.mean, _ENERGY_PREFIXES)
    spread = "" if stat.std is None else f" ± {_like(stat.std / scale, digits(stat.mean / scale))}"
    return f"{'≥ ' if at_least else ''}{digits(stat.mean / scale)}{spread} {unit}"


def energy_range(low_pj: float, high_pj: float | None) -> str:
    """``[1.2, 2.0 nJ]``; an open end prints as such."""
    if high_pj is None:
        return f"[{energy(low_pj)}, no upper bound]"
    scale, unit = _with_prefix(high_pj, _ENERGY_PREFIXES)
    return f"[{digits(low_pj / scale)}, {digits(high_pj / scale)}] {unit}"


def seconds(value: float) -> str:
    """0.004 → ``4.00 ms``."""
    scale, unit = _with_prefix(value, _TIME_PREFIXES)
    return f"{digits(value / scale)} {unit}"


def percent(value: float, decimals: int = 2) -> str:
    """0.987 → ``98.70 %``."""
    return f"{100 * value:.{decimals}f} %"


def percent_stat(stat: Statistic | None, decimals: int = 2) -> str:
    """``98.70 ± 0.21 %``."""
    if stat is None:
        return "-"
    spread = "" if stat.std is None else f" ± {100 * stat.std:.{decimals}f}"
    return f"{100 * stat.mean:.{decimals}f}{spread} %"


def number_stat(stat: Statistic | None, show: Callable[[float], str] = digits) -> str:
    """``0.0312 ± 0.0004``."""
    if stat is None:
        return "-"
    mean = show(stat.mean)
    return mean if stat.std is None else f"{mean} ± {_like(stat.std, mean)}"


def signed(value: float, show: Callable[[float], str] = digits) -> str:
    """With its sign, and a real minus."""
    text = show(abs(value))
    return ("+" if value > 0 else "−" if value < 0 else "") + text


def _like(value: float, shown: str) -> str:
    """A spread with the decimals of the mean it stands beside, and at least one significant digit."""
    decimals = len(shown.partition(".")[2])
    if value and round(value, decimals) == 0:
        return digits(value, 1)
    return f"{value:,.{decimals}f}"
