"""Each epoch told to Weights & Biases, for those who watch their machines there."""

from flockoff.tracking.runs import tracked

__all__ = ["tracked"]
