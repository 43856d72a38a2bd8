"""How a shell reaches a local network that runs: a line of JSON each way, over a port of the loopback.

Not HTTP, so that no page in a browser can send anything here.
"""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from flockoff.errors import FlockoffError, LocalnetError, UsageError

CONTROL_PORT = 9946
_HOST = "127.0.0.1"
_SECONDS = 30.0  # for a whole exchange: the hub closes its port only once its last answers are out
_LINE_BYTES = 65536

Inject = Callable[[str, Mapping[str, str]], str]
"""Starts the fault of that name with those arguments and says what is on now. Raises UsageError, LocalnetError."""


@contextmanager
def listening(port: int, inject: Inject) -> Iterator[int]:
    """Have ``inject`` called for whoever asks at ``port`` (0: any free one); gives the port.

    Raises LocalnetError where the port is taken.
    """

    class Handler(StreamRequestHandler):
        timeout = _SECONDS

        def handle(self) -> None:
            self.wfile.write(json.dumps(_answer(self.rfile.readline(_LINE_BYTES), inject)).encode() + b"\n")

    with _bound(port, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="localnet control", daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingTCPServer):
    allow_reuse_address = os.name == "posix"  # elsewhere it would let two programs have the port
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked went away, or asked for nothing in time; there is nobody to tell."""


def _bound(port: int, handler: type[StreamRequestHandler]) -> _Server:
    try:
        return _Server((_HOST, port), handler)
    except OSError as error:
        raise LocalnetError(
            f"The local network cannot listen on {_HOST}:{port} for its faults: {error.strerror}.",
            remedy="Stop the program that uses the port, or choose another one: --control-port.",
        ) from error


def _answer(line: bytes, inject: Inject) -> dict[str, str]:
    try:
        request = json.loads(line)
        name, arguments = request["fault"], request["arguments"]
        return {"said": inject(name, arguments)}
    except (ValueError, TypeError, KeyError):
        return {"misused": "That is no request of this program.", "remedy": ""}
    except UsageError as error:
        return {"misused": error.message, "remedy": error.remedy}
    except FlockoffError as error:
        return {"failed": error.message, "remedy": error.remedy}


def send(port: int, name: str, arguments: Mapping[str, str]) -> str:
    """Start a fault in the local network whose control port this is; gives the line that it answers.

    Raises UsageError for an unknown fault or wrong arguments, LocalnetError where it cannot be started or
    where no local network answers.
    """
    request = json.dumps({"fault": name, "arguments": dict(arguments)}).encode() + b"\n"
    try:
        with socket.create_connection((_HOST, port), _SECONDS) as connection, connection.makefile("rb") as lines:
            connection.sendall(request)
            answer = json.loads(lines.readline(_LINE_BYTES))
            remedy = answer.get("remedy", "")
    except (OSError, ValueError, AttributeError) as error:
        raise LocalnetError(
            f"No local network answers on {_HOST}:{port}.",
            remedy="Start one with: uv run flockoff localnet. It says its port, which goes to --port.",
        ) from error
    if "misused" in answer:
        raise UsageError(answer["misused"], remedy=remedy)
    if "failed" in answer:
        raise LocalnetError(answer["failed"], remedy=remedy)
    return str(answer["said"])
