"""``neurodeploy doctor``."""

from __future__ import annotations

from typing import Any

import click

from neurodeploy.cli.output import emit, output_options


@click.command("doctor")
@output_options
def command(as_json: bool, quiet: bool) -> None:
    """Print the environment, ready to paste into an issue: versions, processors, Lava, data."""
    from neurodeploy.doctor import examine

    emit("doctor", examine(), as_json, _text)


def _text(result: dict[str, Any]) -> str:
    lines = [f"{key:<18} {value}" for key, value in result.items() if not isinstance(value, (dict, list))]
    lines.append("packages")
    lines += [f"  {name:<16} {version or 'not installed'}" for name, version in result["packages"].items()]
    lines += [f"note: {line}" for line in result["notes"]]
    return "\n".join(lines)
