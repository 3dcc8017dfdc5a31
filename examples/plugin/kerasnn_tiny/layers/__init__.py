"""One file per layer."""
