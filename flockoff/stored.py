"""``.env`` files: stored defaults for flags and for the hub."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from flockoff.errors import UsageError
from flockoff.launch import remedy_for


def stored_variables(folders: Sequence[Path]) -> dict[str, str]:
    """The variables set by the ``folders``' ``.env`` files; earlier folders take precedence. Empty values
    count as unset. Raises UsageError for an unreadable ``.env``.
    """
    found: dict[str, str] = {}
    for folder in reversed(folders):
        found |= variables_in(text_of(folder / ".env"))
    return found


def variables_in(text: str) -> dict[str, str]:
    """The variables that a ``.env``'s text sets to a non-empty value."""
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value.strip() for name, value in values.items() if value and value.strip()}


def text_of(file: Path) -> str:
    """The content of a hand-written text file; empty if there is none. Raises UsageError."""
    try:
        return file.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text.", remedy="Save it as UTF-8.") from None
    except OSError as error:
        raise UsageError(f"Cannot read {file}: {error.strerror}.", remedy=remedy_for(error, file)) from error
