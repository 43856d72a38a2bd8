"""FLock OFF: miners publish datasets, validators measure how much better they make a model."""

__version__ = "0.1.0"
