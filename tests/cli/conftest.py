"""Small models, inputs and artifacts for the commands, made once per session without any training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_files import write_models_and_inputs

from neurodeploy.cli import run

#: Artifact -> model, target and input it is exported from; ``chip`` has its first layer on the host.
ARTIFACTS = {
    "artifact": ("chain.nir", "nir", "static.npz"),
    "chip": ("chain.nir", "loihi2", "static.npz"),
    "spiking-chip": ("spiking.nir", "loihi2", "spikes.npz"),
    "foreign-artifact": ("foreign.nir", "nir", "values.npz"),
}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the models and inputs of ``small_files`` and :data:`ARTIFACTS`; a test copies what it changes."""
    folder = tmp_path_factory.mktemp("cli")
    write_models_and_inputs(folder)
    for name, (model, target, inputs) in ARTIFACTS.items():
        words = ["export", folder / model, "--target", target, "--input", folder / inputs, "--out", folder / name]
        assert run([*map(str, words), "--quiet"]) == 0
    return folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """``call(code, *words)`` runs a command with ``--json``: checks exit code and envelope, gives result or error."""

    def caller(code: int, *words: str | Path) -> dict[str, Any]:
        capsys.readouterr()
        assert run([*map(str, words), "--json"]) == code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        document = json.loads(captured.out)  # one object and nothing else
        assert document["schema"] == f"neurodeploy.{words[0]}/1"
        assert document["command"] == words[0]
        if "result" in document:
            assert set(document) == {"schema", "command", "result"}
            return document["result"]
        assert set(document) == {"schema", "command", "error"}
        error = document["error"]
        assert set(error) == {"code", "message", "where", "fix", "findings"}
        assert error["message"]
        assert error["fix"], error
        for finding in error["findings"]:
            assert set(finding) == {"code", "severity", "node", "rule", "measured", "limit", "unit", "fix"}
        return error

    return caller
