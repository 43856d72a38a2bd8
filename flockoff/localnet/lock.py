"""One local network at a time in a directory."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flockoff.errors import LocalnetError

_NAME = "localnet.lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock ``directory``, creating it if necessary. The operating system releases it when the process ends.
    Raises LocalnetError if another process holds it, or if it is not writable.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = os.open(directory / _NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LocalnetError(
            f"The local network cannot write to {directory}: {error.strerror}.",
            remedy="Choose another directory.",
        ) from error
    try:
        if not _taken(file):
            raise LocalnetError(
                f"Another local network runs in {directory}.",
                remedy="Stop it first, or choose another directory: --dir.",
            )
        yield
    finally:
        os.close(file)  # which also unlocks it


def _taken(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
