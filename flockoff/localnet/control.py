"""The control channel of a running local network: a line of JSON each way, over a loopback port.

Not HTTP, so that no web page in a browser can send anything here.
"""

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from socketserver import StreamRequestHandler, ThreadingTCPServer

from flockoff.errors import FlockoffError, LocalnetError, UsageError

log = logging.getLogger(__name__)

CONTROL_PORT = 9946
_HOST = "127.0.0.1"
_SECONDS = 30.0  # a hub told to refuse connections sends its last responses first
_LOOK_SECONDS = 0.05  # for the end
_LINE_BYTES = 65536

Inject = Callable[[str, Mapping[str, str]], str]
"""Starts a fault, given its name and arguments, and describes it. Raises UsageError, LocalnetError."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """``text``: the fault now active, or an error's message."""

    text: str
    error: str = ""  # "usage", or "localnet" for any other
    remedy: str = ""


@contextmanager
def listening(port: int, inject: Inject) -> Iterator[int]:
    """Call ``inject`` for requests on ``port`` (0: any free one); yields the port. Raises LocalnetError if it
    is taken.
    """

    class Handler(StreamRequestHandler):
        timeout = _SECONDS

        def handle(self) -> None:
            try:
                answer = _carry_out(self.rfile.readline(_LINE_BYTES), inject)
                self.wfile.write(json.dumps(asdict(answer)).encode() + b"\n")
            except OSError as error:
                log.debug("who asked for a fault went away: %s", error)

    with _bound(port, Handler) as server:
        thread = threading.Thread(
            target=server.serve_forever, args=[_LOOK_SECONDS], name="control", daemon=True
        )
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingTCPServer):
    allow_reuse_address = os.name == "posix"  # on Windows it lets two programs share a port
    daemon_threads = True


def _bound(port: int, handler: type[StreamRequestHandler]) -> _Server:
    try:
        return _Server((_HOST, port), handler)
    except OSError as error:
        raise LocalnetError(
            f"The local network cannot listen on {_HOST}:{port}: {error.strerror}.",
            remedy="Stop the program that uses the port, or choose another one: --control-port.",
        ) from error


def _carry_out(line: bytes, inject: Inject) -> _Answer:
    try:
        request = json.loads(line)
        name, arguments = str(request["fault"]), dict(request["arguments"])
    except (ValueError, TypeError, KeyError):
        return _Answer("Not a request for a fault.", error="usage")
    try:
        return _Answer(inject(name, arguments))
    except FlockoffError as error:
        kind = "usage" if isinstance(error, UsageError) else "localnet"
        return _Answer(error.message, error=kind, remedy=error.remedy)


def send(port: int, name: str, arguments: Mapping[str, str]) -> str:
    """Start a fault in the local network with this control port; returns its reply. Raises UsageError for an
    unknown fault or wrong arguments, LocalnetError if it cannot be started or no local network answers.
    """
    request = json.dumps({"fault": name, "arguments": dict(arguments)}).encode() + b"\n"
    try:
        with socket.create_connection((_HOST, port), _SECONDS) as connection:
            connection.sendall(request)
            with connection.makefile("rb") as lines:
                answer = _Answer(**json.loads(lines.readline(_LINE_BYTES)))
    except (OSError, ValueError, TypeError) as error:
        raise LocalnetError(
            f"No local network answers on {_HOST}:{port}.",
            remedy="Start one with: uv run flockoff localnet. Pass the port it prints with --port.",
        ) from error
    if not answer.error:
        return answer.text
    kind = UsageError if answer.error == "usage" else LocalnetError
    raise kind(answer.text, remedy=answer.remedy)
