"""The evaluation worker: ``python -m flockoff.training.worker``, started by ``pool.PooledDevice``.

It loads the base model, then answers requests one by one, sending signs of life all the while. It ends when
its stdin closes, so it never outlives its parent, however that ended. It ignores Ctrl-C, which is the
parent's to handle.
"""

import contextlib
import gc
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import psutil

from flockoff.errors import FlockoffError, MinerFault
from flockoff.records import Progress
from flockoff.training.limits import machine_memory_limit
from flockoff.training.messages import Alive, Reply, decode_assignment, decode_request, encode_reply

if TYPE_CHECKING:
    from flockoff.training.session import Session


_ALIVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Channel:
    """The channel to the parent, which nothing else writes to. Thread-safe."""

    stream: TextIO
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, reply: Reply) -> None:
        self.send_line(encode_reply(reply))

    def send_line(self, line: str) -> None:
        with self.lock:
            self.stream.write(line + "\n")
            self.stream.flush()


def main() -> int:
    """Serve until stdin ends. FlockoffErrors are replies; any other error ends the process visibly."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _prefer_oom_kill()
    channel = take_stdout()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_stdin, args=(lines,), daemon=True).start()
    try:
        channel.send(Progress("loading", 0, 1))
        with signs_of_life(channel):
            session = _load_session(lines.get())
            channel.send(session.ready)
            while True:
                _serve(session, lines.get(), channel)
    except FlockoffError as error:
        channel.send(error)
        return 1


def _load_session(line: str) -> "Session":
    gc.disable()  # what is imported stays: searching it for garbage would take a sixth of these seconds
    from flockoff.training.session import Session

    gc.freeze()
    gc.enable()
    return Session.load(decode_assignment(line))


def _serve(session: "Session", line: str, channel: Channel) -> None:
    """Answer one request. A fault that is not the miner's ends the worker, which can no longer be trusted."""
    try:
        request = decode_request(line)
        answer = session.influence if request.influence else session.measure
        channel.send(answer(request, channel.send))
    except MinerFault as fault:
        channel.send(fault)


@contextlib.contextmanager
def signs_of_life(channel: Channel) -> Iterator[None]:
    """Within this context the parent is sent signs of life, whatever this thread is doing.

    The first comes at once, so that memory is checked however short the work is.
    """
    channel.send(_alive())
    ended = threading.Event()
    sender = threading.Thread(target=_send_alive, args=(channel, ended), daemon=True)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()


def take_stdout() -> Channel:
    """Keep stdout for replies; whatever a library prints goes to stderr."""
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return Channel(stream)


def _prefer_oom_kill() -> None:
    """On Linux, make this process, not the one with the state, the OOM killer's first choice."""
    with contextlib.suppress(OSError):  # no such file on other systems
        Path("/proc/self/oom_score_adj").write_text("900", encoding="ascii")


def _alive() -> Alive:
    return Alive(psutil.Process().memory_info().rss, machine_memory_limit())


def _send_alive(channel: Channel, ended: threading.Event) -> None:
    while not ended.wait(_ALIVE_SECONDS):
        try:
            channel.send(_alive())
        except OSError:  # the parent is gone; the thread that reads stdin ends the process
            return


def _read_stdin(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    # The parent closed the pipe or is gone: nobody waits for the work in progress, and there is nothing to
    # save. (PR_SET_PDEATHSIG would fire when the thread that started the worker ends.)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
