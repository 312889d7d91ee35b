"""Targets: what a chip or a reader can hold, and how an artifact for it is written."""
