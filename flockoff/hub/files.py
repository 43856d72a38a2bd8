"""Local and remote files, and whether two are the same."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from flockoff.errors import HubFatal, HubTransient, Reason, SetupError
from flockoff.files import remedy_for
from flockoff.hub.retries import Stop

_CHUNK = 1 << 20


class Missing(HubFatal):
    """The hub has no such repo, commit or file visible to this token; ``reason`` says which."""

    def __init__(self, reason: Reason, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


class ContentGone(HubTransient):
    """The hub lists the file, but has no content for it now."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A content's size in bytes and the two hashes, in hex, that a hub may use."""

    size: int
    sha256: str  # LFS's hash
    git_sha1: str  # git's hash: SHA-1 of "blob", size, NUL and the content


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """The hub's description of a file of a repo at a commit, with at least one of the hashes."""

    path: str
    url: str
    size: int
    sha256: str | None  # of a file in LFS or Xet storage
    git_sha1: str | None  # of a file in git itself

    def is_same(self, digest: Digest) -> bool:
        if self.size != digest.size:
            return False
        if self.sha256 is not None:
            return self.sha256 == digest.sha256
        return self.git_sha1 == digest.git_sha1


def digest_of(path: Path, stop: Stop | None = None) -> Digest:
    """Raises SetupError for a file that cannot be read, Interrupted at a ``stop``."""
    try:
        size = path.stat().st_size
        sha256 = hashlib.sha256()
        git_sha1 = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                if stop is not None:
                    stop.check()
                sha256.update(chunk)
                git_sha1.update(chunk)
    except OSError as error:
        raise SetupError(f"Cannot read {path}: {error.strerror}.", remedy=remedy_for(error, path)) from error
    return Digest(size, sha256.hexdigest(), git_sha1.hexdigest())


def dataset_key(namespace: str, commit: str) -> str:
    """64 hex digits that identify a dataset in file names, which thus contain no outside text."""
    return hashlib.sha256(f"{namespace}/{commit}".encode()).hexdigest()


def move_into_place(file: Path, target: Path) -> None:
    """Rename a file durably, surviving a crash or power cut. Raises OSError."""
    file.replace(target)
    if os.name == "posix":  # on Windows a directory cannot be opened
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
