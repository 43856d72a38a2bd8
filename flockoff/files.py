"""Files that people write or name: read within bounds, and what to do about those that cannot be used."""

import errno
import os
import select
import stat
from pathlib import Path

from flockoff.errors import UsageError

MAX_BYTES = 1 << 20  # of a hand-written file
_PIPE_SECONDS = 10.0
_BLOCK_BYTES = 1 << 16

_REMEDIES = {
    errno.EACCES: "Let this user read it, or run this as its owner.",
    errno.EPERM: "Let this user use it, or run this as its owner.",
    errno.ENOENT: "Check its name, and that the folder exists.",
    errno.EEXIST: "Choose another place, or remove what is there.",
    errno.EISDIR: "Give a file; this is a folder.",
    errno.ENOTDIR: "Give a folder; a part of this path is a file.",
    errno.ENXIO: "Give a regular file.",
    errno.EROFS: "Its disk is mounted read-only: choose another place.",
    errno.ENOSPC: "The disk is full: free some space, or choose another place.",
    errno.EDQUOT: "Your quota on this disk is used up: free some space, or choose another place.",
    errno.EFBIG: "The file would be larger than is allowed here: raise the limit (ulimit -f).",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ELOOP: "Its symbolic links form a loop.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
    errno.EIO: "The disk fails: look at the system's log.",
}
_WRITE = "Let this user write there, run this as its owner, or choose another place."
# Errors that cannot be this program's bug; a missing file, and one that exists, may be.
OF_THE_MACHINE = frozenset(_REMEDIES) - {errno.ENOENT, errno.EEXIST}


def remedy_for(error: OSError, path: object) -> str:
    """What to do about a file that cannot be used; names the users if it is another one's."""
    remedy = _REMEDIES.get(error.errno or 0, "Check it.")
    if error.errno not in (errno.EACCES, errno.EPERM) or not hasattr(os, "geteuid"):
        return remedy
    target = Path(str(path))
    there = [place for place in (target, *target.parents) if _is_there(place)]
    for place in there:
        if not _usable(place, os.R_OK | (os.X_OK if place.is_dir() else 0)):
            return f"{_whose(place)} {remedy}"
    if there and not _usable(there[0], os.W_OK):  # it was to be written or created there
        return f"{_whose(there[0])} {_WRITE}"
    return remedy


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # below a folder that this user may not enter
        return False


def _usable(place: Path, how: int) -> bool:
    return os.access(place, how, effective_ids=os.access in os.supports_effective_ids)


def _whose(place: Path) -> str:
    return f"{place} belongs to user {place.stat().st_uid}, and this program runs as user {os.geteuid()}."


def hand_written(file: Path) -> str | None:
    """The text of a file that somebody has written, without a byte-order mark; None if there is none.

    A pipe is read as well: shells (``<(command)``) and password managers offer files that way. Raises
    UsageError for whatever is no UTF-8 text of at most ``MAX_BYTES``, and for a pipe that nobody writes to.
    """
    try:
        content = content_within(file, MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"Cannot read {file}: {error.strerror}.", remedy=remedy_for(error, file)) from error
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"{file} is larger than {MAX_BYTES // 2**20} MiB.", remedy="Check that it is the file you mean."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text.", remedy="Save it as UTF-8.") from None


def content_within(file: Path, limit: int) -> bytes:
    """Its bytes, at most one more than ``limit``. Raises OSError, and UsageError for a silent pipe."""
    if stat.S_ISREG(file.stat().st_mode):
        with file.open("rb") as opened:
            return opened.read(limit + 1)
    content = bytearray()
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # blocking, it would wait for a writer for ever
    try:
        while len(content) <= limit:
            if not select.select([descriptor], [], [], _PIPE_SECONDS)[0]:
                raise UsageError(
                    f"{file} is not a regular file, and nothing came from it in {_PIPE_SECONDS:.0f} s.",
                    remedy="Give a regular file.",
                )
            block = os.read(descriptor, _BLOCK_BYTES)
            if not block:
                break
            content += block
    finally:
        os.close(descriptor)
    return bytes(content)
