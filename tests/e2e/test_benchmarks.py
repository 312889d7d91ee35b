"""The benchmarks run and print ratios; what they measure is for a quiet machine, not for a test."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("spikingjelly") is None, reason="needs SpikingJelly (the peers extra)")
def test_training_against_peers() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "train.py"), "--repeats", "1", "--threads", "1", "--nets", ""],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "SpikingJelly" in done.stdout
    assert len(re.findall(r"\d\.\d", done.stdout)) >= 6
