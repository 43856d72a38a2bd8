"""Validation of scenarios."""

from flockoff.errors import UsageError


def require(condition: bool, message: str) -> None:
    """Raise UsageError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UsageError(f"The scenario is contradictory: {message}.", remedy="Correct the scenario.")
