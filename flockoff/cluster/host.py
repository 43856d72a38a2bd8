"""The bridge's actor on the node with the device: stores files, starts a worker, relays lines.

Imports no ray: the bridge makes it an actor.
"""

import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path
from typing import Literal

from flockoff import __version__
from flockoff.errors import EvaluationFault
from flockoff.flags import default_cache_dir
from flockoff.training.environment import library_versions
from flockoff.training.messages import (
    WorkerFault,
    decode_assignment,
    decode_request,
    encode_assignment,
    encode_reply,
    encode_request,
)
from flockoff.training.process import WorkerProcess

Shelf = Literal["files", "rows"]

_KEPT_SECONDS: Mapping[Shelf, float] = {"files": 30 * 86400.0, "rows": 7200.0}  # since last use
_LISTEN_SECONDS = 1.0


def versions() -> dict[str, str]:
    """Versions of what, besides the device, affects the last digits of a loss."""
    return {"flockoff": __version__} | library_versions()


class Host:
    """One worker on this node. It ends with the actor's process.

    Files are stored by their SHA-256, so that each is sent to a node only once.
    """

    def __init__(self) -> None:
        self._folder = default_cache_dir() / "cluster"
        self._scratch = tempfile.TemporaryDirectory(prefix="flockoff-node-", ignore_cleanup_errors=True)
        self._arriving = Path(self._scratch.name) / "arriving"
        self._worker: WorkerProcess | None = None

    def describe(self) -> tuple[str, dict[str, str]]:
        """The node's name, and its versions."""
        return platform.node(), versions()

    def lacks(self, shelf: Shelf, sha256: str) -> bool:
        try:
            self._used(shelf, sha256)  # or another worker of this node might clear it just now
        except FileNotFoundError:
            return True
        return False

    def receive(self, part: bytes) -> None:
        """The next part of a file that is arriving."""
        with self._arriving.open("ab") as file:
            file.write(part)

    def keep(self, shelf: Shelf, sha256: str) -> None:
        """Store the file that has arrived. Raises EvaluationFault if its bytes differ from those sent."""
        self.receive(b"")  # an empty file has no parts
        with self._arriving.open("rb") as file:
            arrived = file_digest(file, "sha256").hexdigest()
        if arrived != sha256:
            self._arriving.unlink()
            raise EvaluationFault(f"A file arrived on {platform.node()} with other bytes than were sent.")
        place = self._place(shelf, sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        self._clear(shelf)
        on_the_disk = place.with_name(f"{sha256}.{os.getpid()}")
        with self._arriving.open("rb") as source, on_the_disk.open("wb") as target:
            while part := source.read(1 << 24):
                target.write(part)
        self._arriving.unlink()
        on_the_disk.replace(place)

    def start(self, assignment: str, model: Mapping[str, str], evaluation: str, sealed: str | None) -> None:
        """Start a worker with this assignment on files stored here. ``model``: SHA-256 by name."""
        folder = Path(self._scratch.name) / "model"
        for name, sha256 in model.items():
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self._used("files", sha256))
        given = decode_assignment(assignment)
        here = replace(
            given,
            model_dir=str(folder),
            evaluation_file=str(self._used("files", evaluation)),
            sealed_file=str(self._used("files", sealed)) if sealed is not None else None,
        )
        self._worker = WorkerProcess("flockoff.training.worker", device=given.device)
        self._worker.send(encode_assignment(here))

    def ask(self, request: str) -> None:
        """Forward a request, in which ``rows`` is their SHA-256."""
        assert self._worker is not None, "asked after start"
        given = decode_request(request)
        file = str(self._used("rows", given.rows)) if given.rows is not None else None
        self._worker.send(encode_request(replace(given, rows=file)))

    def listen(self) -> str | None:
        """The worker's next line; None after a second without one."""
        assert self._worker is not None, "listened to after start"
        try:
            return self._worker.receive(_LISTEN_SECONDS)
        except WorkerFault as fault:
            return encode_reply(fault)

    def _place(self, shelf: Shelf, sha256: str) -> Path:
        return self._folder / shelf / sha256

    def _used(self, shelf: Shelf, sha256: str) -> Path:
        place = self._place(shelf, sha256)
        os.utime(place)
        return place

    def _clear(self, shelf: Shelf) -> None:
        """Remove files that have long been unused."""
        oldest = time.time() - _KEPT_SECONDS[shelf]
        for file in (self._folder / shelf).iterdir():
            with contextlib.suppress(OSError):  # another worker of this node does the same
                if file.stat().st_mtime < oldest:
                    file.unlink()
