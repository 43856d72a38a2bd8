"""The pulse of a node that makes no blocks by itself, so that a test can hold it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flockoff.localnet.node import Node

BLOCK_SECONDS = 0.05
_STOP_SECONDS = 300.0


class Pulse:
    """Has ``node`` make a block every BLOCK_SECONDS, except while it is held."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._held = threading.Event()
        self._stopped = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[None]:
        thread = threading.Thread(target=self._beat, name="pulse")
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join(_STOP_SECONDS)

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """No blocks within this context, and for ``seconds`` after it."""
        self._held.set()
        try:
            yield
        finally:
            threading.Timer(seconds, self._held.clear).start()

    def _beat(self) -> None:
        while not self._stopped.wait(BLOCK_SECONDS):
            if not self._held.is_set():
                self._node.advance()
