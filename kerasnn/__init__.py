"""kerasnn compares neural-network architectures honestly."""

__version__ = "0.1.0"
