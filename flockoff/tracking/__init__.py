"""Logs each epoch to Weights & Biases."""

from flockoff.tracking.runs import tracked

__all__ = ["tracked"]
