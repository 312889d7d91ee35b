"""Data that ships with the package: recipes, target kits, hardware profiles."""
