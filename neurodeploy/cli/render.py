"""Results of the commands as terminal text."""

from __future__ import annotations

from typing import Any

from neurodeploy.reporting.text import cell, findings_text, table


def check_text(result: dict[str, Any]) -> str:
    """Verdict, resources per layer, chips, findings."""
    limits = f", limits of {result['profile']}" if result["profile"] else ""
    verdict = "fits" if result["fits"] else "does NOT fit"
    parts = [f"{verdict}: target {result['target']}{limits}"]
    if result["resources"]:
        parts.append(_resources(result["resources"]))
    parts.extend(_chips(result))
    parts.extend(_host_parts(result))
    if result["unchecked"]:
        parts.append(f"unchecked {', '.join(result['unchecked'])} (unknown in {result['profile']}, or not modeled)")
    if result["findings"]:
        parts.append(findings_text(result["findings"]))
    return "\n".join(parts)


def export_text(result: dict[str, Any]) -> str:
    """Where the artifact is, what is in it, what the passes did, what it costs in accuracy and cores."""
    where = result["artifact"] or "dry run: nothing written"
    parts = [f"artifact  {where}"]
    if result["files"]:
        parts.append("files     " + ", ".join(result["files"]))
    passes = ", ".join(p["name"] + ("" if p["changed"] else " (no change)") for p in result["passes"])
    parts.append(f"passes    {passes}")
    if result["accuracy_target"] is not None:
        parts.append(
            f"accuracy  {result['accuracy_target']:.4f} as exported, {result['accuracy_float']:.4f} in float32"
        )
    parts.append(_resources(result["resources"]))
    parts.extend(_chips(result))
    parts.extend(_host_parts(result))
    if result["findings"]:
        parts.append(findings_text(result["findings"]))
    return "\n".join(parts)


def _host_parts(result: dict[str, Any]) -> list[str]:
    return [
        f"host      {part}: " + ", ".join(f"{node['name']} ({node['kind']})" for node in nodes)
        for part, nodes in result["host"].items()
        if nodes
    ]


def _resources(resources: dict[str, Any]) -> str:
    keys = ("neurons", "synapses", "synaptic_memory_bytes", "axons_in", "axons_out", "cores")
    rows = [[name, *(row[key] for key in keys), row["limited_by"]] for name, row in resources["nodes"].items()]
    rows.append(["total", *(resources["total"][key] for key in keys), None])
    columns = ("layer", "neurons", "synapses", "memory bytes", "axons in", "axons out", "cores", "limited by")
    return table("", columns, rows)


def _chips(result: dict[str, Any]) -> list[str]:
    lines = []
    if result["chips"] is not None:
        lines.append(f"chips     {result['chips']}, limited by {result['chips_limited_by']}")
    if result["bottleneck"]:
        most = result["bottleneck"]
        cores = "1 core" if most["cores"] == 1 else f"{most['cores']} cores"
        lines.append(f"largest   `{most['node']}`: {cores}, limited by {most['resource']}")
    return lines


def simulate_text(result: dict[str, Any]) -> str:
    """Accuracy, purity, counts per layer and in total."""
    accuracy = "" if result["accuracy"] is None else f", accuracy {result['accuracy']:.4f}"
    head = f"{result['samples']} samples, {result['timesteps']} timesteps, {result['arithmetic']}{accuracy}"
    parts = [head, f"purity    {result['purity']}"]
    parts += [f"          {line}" for line in result["violations"]]
    keys = ("sop", "sop_graded", "mac", "neuron_updates_active", "neuron_updates_idle", "spikes_out", "messages")
    shown = [row for row in result["layers"] if row["kind"] not in ("input", "output", "flatten")]
    rows = [[row["name"], row["kind"], *(row[key] for key in keys)] for row in shown]
    rows.append(["total", "", *(result["counts"][key] for key in keys)])
    rows += [[f"host {row['name']}", row["kind"], *(row[key] for key in keys)] for row in _host(result)]
    columns = ("layer", "kind", "SOP", "graded SOP", "MAC", "active updates", "idle updates", "spikes", "messages")
    # No digit of a count may be cut: the table is as wide as its numbers are.
    longest = [max(map(len, [*name.split(), *(cell(row[i]) for row in rows)])) for i, name in enumerate(columns)]
    width = max(120, sum(longest) + 3 * len(columns))
    parts.append(table("counts over all samples and timesteps", columns, rows, width=width))
    parts.append(f"took {result['seconds']:.2f} s")
    return "\n".join(parts)


def _host(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in result["host_layers"] if row["kind"] not in ("input", "output", "flatten")]


def verify_text(result: dict[str, Any]) -> str:
    """One line per oracle."""
    rows = []
    for name, row in result.items():
        if row["skipped"]:
            rows.append([name, "SKIPPED", None, None, None, row["why"]])
            continue
        if not row["samples"]:
            rows.append([name, "FAILED", None, None, None, row["why"]])
            continue
        remark = f"output differs by {row['output_max_difference']:.3g} at most"
        if row["why"]:
            remark += f"; {row['why']}"
        if row["largest_distance"] is not None:
            remark += f"; first flips at most {row['largest_distance']:.3g} from the threshold"
        counts = (row["samples"], row["spikes_compared"], row["spike_differences"])
        rows.append([name, "equal" if row["equal"] else "DIFFERS", *counts, remark])
    return table("", ("oracle", "verdict", "samples", "spikes compared", "spikes that differ", ""), rows)
