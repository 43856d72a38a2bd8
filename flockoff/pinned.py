"""Files whose content is pinned by SHA-256."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from flockoff.errors import SetupError


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """``what`` names the file in messages: "competition's evaluation set"."""

    path: Path
    sha256: str
    what: str

    def is_here(self) -> bool:
        """Whether it exists with the pinned content. Raises SetupError if unreadable."""
        return self.path.exists() and self._digest() == self.sha256

    def check(self, remedy: str) -> None:
        """Raises SetupError, with ``remedy``, for a missing, unreadable or different file."""
        digest = self._digest(remedy)
        if digest != self.sha256:
            raise SetupError(
                f"{self.path} is not the {self.what}: its SHA-256 is {digest}, not {self.sha256}.",
                remedy=remedy,
            )

    def _digest(self, remedy: str = "") -> str:
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise SetupError(
                f"Cannot read the {self.what} {self.path}: {error.strerror}.", remedy=remedy
            ) from error
