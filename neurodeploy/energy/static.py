"""Static energy: what the chips draw whatever the network does, in real time and at the fastest timestep seen."""

from __future__ import annotations

from neurodeploy.config.profile import Profile
from neurodeploy.energy.model import Amount, PriceTag, Static


def static_energy(
    profile: Profile, timesteps: int, chips: int | None, chips_from: str
) -> tuple[Static | None, PriceTag | None, str]:
    """``P_static · T · dt · chips`` per inference, the power's price tag, and a note; None where it is not known."""
    if profile.energy.scope == "all_in":
        return None, None, "inside sop (scope all_in)"
    power, step = profile.power.static_chip_mW, profile.chip.timestep_s
    missing = [
        f"{what} unknown" + (f" ({quantity.note})" if quantity.note else "")
        for what, quantity in (("static power", power), ("timestep", step))
        if not quantity.known
    ]
    if missing:
        return None, None, "; ".join(missing)
    value, low, high = power.amounts()
    tag = PriceTag(
        key="static",
        value=value,
        low=low,
        high=high,
        unit="mW",
        basis=power.basis or "",
        confidence=power.confidence or "low",
        source=f"{power.source}; timestep: {step.source}",
        note="; ".join(note for note in (power.note, step.note) if note),
    )
    step_s, fastest_step_s, _ = step.amounts()
    count = 1 if chips is None else chips

    def energy(seconds: float) -> Amount:
        return tag.times(seconds * count * 1e9)  # mW · s = mJ = 1e9 pJ

    seconds, fastest = timesteps * step_s, timesteps * fastest_step_s
    has_fastest = fastest_step_s < step_s
    static = Static(
        real_time=energy(seconds),
        real_time_s=seconds,
        fastest=energy(fastest) if has_fastest else None,
        fastest_s=fastest if has_fastest else None,
        chips=count,
        chips_assumed=chips is None,
        chips_from="assumed" if chips is None else chips_from,
    )
    note = "chips unknown: 1 assumed" if chips is None else f"{count} chip" + ("s" if count != 1 else "")
    return static, tag, note
