"""Replay an artifact's golden vectors elsewhere and count differences. One file per kind of oracle."""
