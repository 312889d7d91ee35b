"""A comparison of twenty layers: its page is small and soon made."""

from __future__ import annotations

import time
from pathlib import Path

import fake_runs
import pytest
from fake_runs import make_group

from neurodeploy.reporting import report
from neurodeploy.reporting.html import page

#: ResNet20's form: widths 64, 128, 256, 512.
LAYERS = tuple(
    (f"stage{1 + k // 5}_block{1 + k % 5 // 2}_lif{1 + k % 2}_{k}", 65536 >> (k // 5), 576) for k in range(20)
)


def test_twenty_layers_four_methods(tmp_path: Path, calls: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """1.5 MiB at most, and 10 s from cached traces; the time is the process's own."""
    monkeypatch.setattr(fake_runs, "LAYERS", LAYERS)
    folders = [
        make_group(tmp_path / "x-vanilla"),
        make_group(tmp_path / "x-rmp", method="rmp"),
        make_group(tmp_path / "x-laf", method="laf", seeds=1),
        make_group(tmp_path / "x-more", method="rmp", seeds=1, overrides=["loss.rmp.k=0.2"]),
    ]
    report(*folders)
    before, started = dict(calls), time.process_time()
    made = report(*folders)
    html = page(made)
    seconds = time.process_time() - started
    assert calls == before, "from the caches alone"
    assert len(made.groups[0].trained_layers) == 20
    assert len(html.encode()) <= 1.5 * 2**20
    assert seconds <= 10
