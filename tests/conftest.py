"""Shared fixtures: one trained pair of digits runs and its artifacts, made once per session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
