"""The sections of ``benchmarks/simulate.py``: networks, contenders, the clock, and one module per question."""
