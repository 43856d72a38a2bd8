"""The evaluation worker: ``python -m flockoff.training.worker``, started by ``evaluator.WorkerEvaluator``.

It loads the base model, then answers one request after the other. It ends when its stdin does, so it never
outlives the process that started it, however that one ended; Ctrl-C it leaves to that process.
"""

import os
import queue
import signal
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from flockoff.errors import FlockoffError, MinerFault
from flockoff.records import Progress
from flockoff.training.messages import Reply, decode_assignment, decode_request, encode_reply

if TYPE_CHECKING:
    from flockoff.training.session import Session


@dataclass(frozen=True, slots=True)
class Channel:
    """The way back to the parent; nothing else writes to it."""

    stream: TextIO

    def send(self, reply: Reply) -> None:
        self.stream.write(encode_reply(reply) + "\n")
        self.stream.flush()


def main() -> int:
    """Serve until stdin ends. This project's errors are replies; any other ends the process, visibly."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = _take_stdout()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_stdin, args=(lines,), daemon=True).start()
    try:
        channel.send(Progress("loading", 0, 1))
        session = _load_session(lines.get())
        channel.send(None)
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


def _take_stdout() -> Channel:
    """Keep stdout for replies, and let whatever a library prints go to stderr."""
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return Channel(stream)


def _read_stdin(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    # The parent closed the pipe or is gone. Whatever is under way, nobody waits for it, and there is
    # nothing to save. (Linux could send a signal at the parent's death, but sends it when the thread that
    # started the worker ends.)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
