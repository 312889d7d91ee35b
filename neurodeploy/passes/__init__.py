"""Passes: functions from graph to graph, one per file. ``pipeline.py`` runs them in a target's order and checks each
stated pre- and post-condition."""
