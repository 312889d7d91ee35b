"""Training losses, one method per file."""
