"""The three human-written formats: recipes, profiles, targets (pydantic, unknown keys refused, no torch)."""
