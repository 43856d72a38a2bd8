"""The check for newer releases, off unless requested."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flockoff import __version__
from flockoff.errors import SetupError
from flockoff.fetching import fetched
from flockoff.logs import event
from flockoff.text import printable

log = logging.getLogger(__name__)

RELEASES = "https://api.github.com/repos/FLock-io/FLock-subnet/releases/latest"
_SECONDS = 10.0
_MAX_BYTES = 2**20
_AGAIN_SECONDS = 86400.0
_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?")


def newer_release(source: str = RELEASES, *, than: str = __version__) -> str | None:
    """The latest release's name if newer; None if not, or if unknown.

    ``source`` answers with JSON that has ``tag_name``, as GitHub does.
    """
    try:
        answer = json.loads(fetched(source, max_bytes=_MAX_BYTES, seconds=_SECONDS))
    except (SetupError, ValueError, RecursionError) as error:
        log.debug("Cannot tell whether there is a newer release: %r", error)
        return None
    name = answer.get("tag_name") if isinstance(answer, dict) else None
    found, mine = _numbers(name if isinstance(name, str) else ""), _numbers(than)
    return printable(str(name), 40) if found and mine and found > mine else None


def _numbers(version: str) -> tuple[int, ...] | None:
    found = _VERSION.match(version)
    return tuple(int(part or 0) for part in found.groups()) if found else None


@contextmanager
def updates_checked(wanted: bool, source: str = RELEASES) -> Iterator[None]:
    """Check now and once a day, in a separate thread, and log each newer release once; False: do not."""
    if not wanted:
        yield
        return
    stop = threading.Event()
    # Not joined: a late answer must not delay shutdown.
    threading.Thread(target=_look, args=(source, stop), name="updates", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _look(source: str, stop: threading.Event) -> None:
    reported = ""
    while not stop.is_set():
        found = newer_release(source)
        if found is not None and found != reported:
            reported = found
            log.info(
                "Release %s is out; this is %s. What is new: .github/CHANGELOG.md there.",
                found,
                __version__,
                extra=event("newer_release", release=found),
            )
        stop.wait(_AGAIN_SECONDS)
