"""Validation of scenarios."""

from flockoff.errors import UsageError


def require(condition: bool, message: str, *, remedy: str = "Correct the scenario.") -> None:
    """Raise UsageError with ``message`` and ``remedy`` unless ``condition`` holds."""
    if not condition:
        raise UsageError(f"The scenario is contradictory: {message}.", remedy=remedy)
