"""``.env`` files: stored defaults for flags and for the hub."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from flockoff.files import hand_written


def stored_variables(folders: Sequence[Path]) -> dict[str, str]:
    """The variables set by the ``folders``' ``.env`` files; earlier folders take precedence. Empty values
    count as unset. Raises UsageError for an unreadable ``.env``.
    """
    found: dict[str, str] = {}
    for folder in reversed(folders):
        found |= variables_in(hand_written(folder / ".env") or "")
    return found


def variables_in(text: str) -> dict[str, str]:
    """The variables that a ``.env``'s text sets to a non-empty value."""
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value.strip() for name, value in values.items() if value and value.strip()}
