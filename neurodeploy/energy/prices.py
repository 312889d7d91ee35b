"""The prices of a profile as they may be used: scope, ``inside`` and the proxy applied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from neurodeploy.config.profile import BASES, CONFIDENCES, Price, Profile, load_profile
from neurodeploy.diagnostics import UsageError
from neurodeploy.energy.model import PriceTag
from neurodeploy.energy.terms import EVENT_TERMS


class PriceBook:
    """The prices of one profile; with ``allow_proxy`` those of its ``[proxy]`` chip where it has none.

    Raises:
        UsageError: ND101 or ND112 for a proxy that cannot be read; ND112 for one of another scope, whose prices hold
            other costs: a ``sop`` of scope ``per_term`` in a profile of scope ``all_in`` would leave the updates out.
    """

    def __init__(self, profile: Profile, allow_proxy: bool = False) -> None:
        self.profile = profile
        self.proxy_name = profile.proxy.inherit if allow_proxy and profile.proxy else None
        self.proxy = _proxy(profile, self.proxy_name) if self.proxy_name else None

    def inside(self, key: str) -> str:
        """Why a term is not charged on its own; empty when it is."""
        own = _inside(self.profile, key)
        if own or self.proxy is None or _known(self.profile, key):
            return own
        taken = _inside(self.proxy, key)
        return f"{taken} of the proxy {self.proxy_name}" if taken else ""

    def tag(self, key: str) -> PriceTag | None:
        """The price of a term, None where unknown; ``hop`` is the mean of both directions."""
        own = _tag(key, _fields(self.profile, key))
        if own is not None or self.proxy is None:
            return own
        other = _tag(key, _fields(self.proxy, key))
        if other is None:
            return None
        note = self.profile.proxy.note if self.profile.proxy else ""
        return PriceTag(
            key=key,
            value=other.value,
            low=other.low,
            high=other.high,
            unit=other.unit,
            basis="estimated",
            confidence="low",
            source=f"PROXY {self.proxy.chip.id}: {other.source}",
            note=note,
        )

    def note(self, key: str) -> str:
        """What the profile says beside an unknown price."""
        return "; ".join(dict.fromkeys(price.note for price in _fields(self.profile, key) if price.note))


def _proxy(profile: Profile, name: str) -> Profile:
    where = f"{profile.chip.id}, [proxy] inherit"
    try:
        proxy = load_profile(name)
    except UsageError as error:
        raise UsageError(error.code, error.message, where=where, fix=error.fix, findings=error.findings) from error
    if proxy.energy.scope != profile.energy.scope:
        raise UsageError(
            "ND112",
            f"prices of {name} are {proxy.energy.scope}, of {profile.chip.id} {profile.energy.scope}: "
            "they hold different costs",
            where=where,
            fix=f'inherit from a profile of scope "{profile.energy.scope}", or leave out --allow-proxy',
        )
    return proxy


def _inside(profile: Profile, key: str) -> str:
    scope = profile.energy.scope
    if key not in EVENT_TERMS and scope != "per_term":
        return f"inside sop (scope {scope})"
    marks = {price.inside for price in _fields(profile, key)}
    return "inside " + "/".join(sorted(mark for mark in marks if mark)) if any(marks) else ""


def _known(profile: Profile, key: str) -> bool:
    return all(price.known for price in _fields(profile, key))


def _fields(profile: Profile, key: str) -> tuple[Price, ...]:
    if key == "hop":
        return profile.energy.hop_x, profile.energy.hop_y
    price: Price = getattr(profile.energy, key)
    return (price,)


def _tag(key: str, prices: tuple[Price, ...]) -> PriceTag | None:
    """One tag from one price, or from the two directions of a hop where counts do not tell them apart: their mean."""
    if not all(price.known for price in prices):
        return None
    amounts = [price.amounts() for price in prices]
    highs = [high for _, _, high in amounts]
    notes = [price.note for price in prices if price.note]
    if len(prices) > 1:
        notes.append("mean of both directions: hops are counted without direction")
    return PriceTag(
        key=key,
        value=sum(value for value, _, _ in amounts) / len(amounts),
        low=min(low for _, low, _ in amounts),
        high=None if None in highs else max(high for high in highs if high is not None),
        unit="pJ",
        basis=weakest((price.basis for price in prices), BASES) or "",
        confidence=weakest((price.confidence for price in prices), CONFIDENCES) or "low",
        source="; ".join(dict.fromkeys(price.source for price in prices)),
        note="; ".join(dict.fromkeys(notes)),
    )


def weakest(words: Iterable[str | None], order: Sequence[str]) -> str | None:
    """The last of ``words`` in ``order``, None where there are none."""
    ranks = [order.index(word) for word in words if word]
    return order[max(ranks)] if ranks else None
