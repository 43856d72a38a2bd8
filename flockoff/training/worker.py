"""The evaluation worker: ``python -m flockoff.training.worker``, started by ``pool.PooledDevice``.

It loads the base model, then answers one request after the other, and says all the while that it is alive. It
ends when its stdin does, so it never outlives the process that started it, however that one ended; Ctrl-C it
leaves to that process.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from flockoff.errors import FlockoffError, MinerFault
from flockoff.records import Progress
from flockoff.training.limits import machine_memory_limit
from flockoff.training.messages import Alive, Reply, decode_assignment, decode_request, encode_reply

if TYPE_CHECKING:
    from flockoff.training.session import Session


_ALIVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Channel:
    """The way back to the parent; nothing else writes to it. May be used from several threads."""

    stream: TextIO
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, reply: Reply) -> None:
        self.send_line(encode_reply(reply))

    def send_line(self, line: str) -> None:
        with self.lock:
            self.stream.write(line + "\n")
            self.stream.flush()


def main() -> int:
    """Serve until stdin ends. This project's errors are replies; any other ends the process, visibly."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _offer_to_the_kernel()
    channel = take_stdout()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_stdin, args=(lines,), daemon=True).start()
    threading.Thread(target=_say_alive, args=(channel,), daemon=True).start()
    try:
        channel.send(Progress("loading", 0, 1))
        session = _load_session(lines.get())
        channel.send(session.ready)
        while True:
            _serve(session, lines.get(), channel)
    except FlockoffError as error:
        channel.send(error)
        return 1


def _load_session(line: str) -> "Session":
    from flockoff.training.session import Session  # torch and its kin take seconds to import

    return Session.load(decode_assignment(line))


def _serve(session: "Session", line: str, channel: Channel) -> None:
    """Answer one request. A fault that is not the miner's ends the worker: it cannot be relied on."""
    try:
        channel.send(session.measure(decode_request(line), channel.send))
    except MinerFault as fault:
        channel.send(fault)


def take_stdout() -> Channel:
    """Keep stdout for replies, and let whatever a library prints go to stderr."""
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return Channel(stream)


def _offer_to_the_kernel() -> None:
    """Linux: when memory runs out this process goes, and not the one that holds the state."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900", encoding="ascii")


def _say_alive(channel: Channel) -> None:
    import psutil

    process, limit = psutil.Process(), machine_memory_limit()
    while True:
        try:
            channel.send(Alive(process.memory_info().rss, limit))
        except OSError:  # the parent is gone: the other thread ends the process
            return
        time.sleep(_ALIVE_SECONDS)


def _read_stdin(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    # The parent closed the pipe or is gone. Whatever is under way, nobody waits for it, and there is
    # nothing to save. (Linux could send a signal at the parent's death, but sends it when the thread that
    # started the worker ends.)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
