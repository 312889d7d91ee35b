"""Whole networks: our engine beside the other simulators, one after the other in turns, on the same spikes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from neurodeploy.reporting.text import table
from simulation.contenders import Ours, ours, peers
from simulation.measure import interleaved
from simulation.nets import Network

MIB = 2**20


def contest(
    network: Network, *, names: list[str], repeats: int, threads: int = 1, dense: str = "on", stem: str = "once"
) -> dict[str, Any]:
    """Run all contenders on ``network``; prints a table, gives the same as JSON.

    Args:
        network: The network.
        names: Peers.
        repeats: Turns.
        threads: Of all; from 2 on the clock is the wall's, and with 1 that of the process.
        dense: ``on``, ``off`` or ``both``.
        stem: What happens to what does not change over time: ``once``, ``every`` or ``spikes``: see ``simulate.py``.
    """
    network = with_stem(network, stem)
    batch = network.x.shape[0]
    rows = ours(network, threads, dense)
    others, missing = peers(network, names)
    rows += others
    reference_output, reference = rows[0].outcome()
    counts = Ours(network, network.chip.arithmetic).run()[1].layers
    operations = sum(layer.total(key) or 0 for layer in counts for key in ("sop", "sop_graded"))
    rates = [s.mean() for name, s in reference.items()]
    found = []
    for row in rows:
        output, spikes = row.outcome()
        different = sum(int(np.count_nonzero(reference[name] != s)) for name, s in spikes.items()) if spikes else None
        off = float(np.abs(output - reference_output).max())
        if network.exact and (different or off):
            raise SystemExit(f"{row.name}: {different} spikes differ, the output by {off:g}: not the same network")
        found.append({"contender": row.name, "different": different, "output_difference": off, "note": row.note})
        found[-1]["peak_mib"] = None if row.peak is None else row.peak / MIB
    clock = time.process_time if threads == 1 else time.perf_counter
    times = interleaved({row.name: row.run for row in rows}, repeats, clock)
    first = {}
    for kind in ("integer", "float32"):
        mine = [name for name in times if name.startswith(f"ours, {kind}")]
        first |= {kind: mine[0]} if mine else {}
    for entry in found:
        entry["seconds"] = times[entry["contender"]].seconds
        entry["gsops"] = operations / times[entry["contender"]].median / 1e9
        for kind, name in first.items():
            entry[f"over_{kind}"] = times[entry["contender"]].over(times[name])
    rate = float(np.mean(rates)) if rates else 0.0
    print(_table(f"{network.name}: batch {batch}, T = {network.timesteps}", found, list(first)))
    unit = "process CPU time, one thread" if threads == 1 else f"wall-clock time, {threads} threads"
    print(f"{unit}, medians of {repeats} turns (middle half of the turns); {STEMS[stem]}")
    print(
        f"populations fire at {rate:.1%} on average, {min(rates, default=0):.1%} to {max(rates, default=0):.1%}; "
        f"{operations / batch:,.0f} synaptic operations a sample on the chip"
    )
    for entry in found:
        if entry["note"]:
            print(f"  {entry['contender']}: {entry['note']}")
    for line in missing:
        print(f"  left out: {line}")
    print(flush=True)
    return {
        "section": "contest", "network": network.name, "batch": batch, "threads": threads, "stem": stem, "rate": rate,
        "operations": operations, "rows": found, "left_out": missing,
    }  # fmt: skip


STEMS = {
    "once": "what is the same at every step (the image's convolution) is computed once by all",
    "every": "the image's convolution is computed at every step by all",
    "spikes": "without the image's convolution: all begin with its spikes",
}


def with_stem(network: Network, stem: str) -> Network:
    """The network with another input: a row for each step, or the encoder's spikes."""
    if stem == "every":
        x = np.repeat(network.x, network.timesteps, axis=1) if network.x.shape[1] == 1 else network.x
        return Network(network.name, network.encoder, network.chip, x, network.timesteps, network.exact)
    if stem == "spikes" and network.encoder is not None:
        encoded = Ours(network, network.chip.arithmetic).run()[0]
        assert encoded is not None
        x = encoded.output.astype(np.uint8)
        return Network(network.name, None, network.chip, x, network.timesteps, network.exact)
    return network


def _table(title: str, found: list[dict[str, Any]], kinds: list[str]) -> str:
    columns = ["contender", *(f"time, {kind} = 1" for kind in kinds)]
    columns += ["GSOP/s", "peak MiB", "spikes that differ"]
    rows = []
    for entry in found:
        row: list[Any] = [entry["contender"]]
        for kind in kinds:
            ratio, low, high = entry[f"over_{kind}"]
            row.append(f"{ratio:.2f} ({low:.2f}-{high:.2f})")
        peak = entry["peak_mib"]
        row += [f"{entry['gsops']:.2f}", None if peak is None else f"{peak:.0f}", entry["different"]]
        rows.append(row)
    return table(title, columns, rows, width=150)
