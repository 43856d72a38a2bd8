"""Files here and files there: what tells whether two of them are the same."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from flockoff.errors import HubFatal, Reason, SetupError

_CHUNK = 1 << 20


class Missing(HubFatal):
    """The hub has no such repo, commit or file, or none that this token may see; ``reason`` says which."""

    def __init__(self, reason: Reason, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Digest:
    """A content's size in bytes and the two hashes, in hex, that a hub may know it by."""

    size: int
    sha256: str  # how LFS names it
    git_sha1: str  # how git names it: SHA-1 of "blob", size, NUL and the content


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repo at a commit, as the hub describes it; one of the hashes is there."""

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


def digest_of(path: Path) -> Digest:
    """Raises SetupError for a file that cannot be read."""
    try:
        size = path.stat().st_size
        sha256 = hashlib.sha256()
        git_sha1 = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                sha256.update(chunk)
                git_sha1.update(chunk)
    except OSError as error:
        raise SetupError(f"Cannot read {path}: {error.strerror}.") from error
    return Digest(size, sha256.hexdigest(), git_sha1.hexdigest())
