"""A SOCKS5 proxy, for the time of a test: RFC 1928 without passwords, names and IPv4 addresses alike."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

from tests.support.web import LOOK_SECONDS

_NO_PASSWORD, _CONNECTED = b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6)
_IPV4 = 1


@contextmanager
def socks_proxy() -> Iterator[tuple[str, list[str]]]:
    """Its ``host:port``, and the hosts it was asked for so far."""
    asked: list[str] = []

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with self.request.makefile("rb") as given:
                _, methods = given.read(2)
                given.read(methods)
                self.request.sendall(_NO_PASSWORD)
                *_, kind = given.read(4)
                if kind == _IPV4:
                    host = socket.inet_ntoa(given.read(4))
                else:
                    host = given.read(given.read(1)[0]).decode()
                port = int.from_bytes(given.read(2))
            asked.append(host)
            with socket.create_connection((host, port)) as other:
                self.request.sendall(_CONNECTED)
                back = threading.Thread(target=_pass_on, args=(other, self.request))
                back.start()
                _pass_on(self.request, other)
                back.join()

    class Server(ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[LOOK_SECONDS])
        thread.start()
        try:
            yield "{}:{}".format(*server.server_address[:2]), asked
        finally:
            server.shutdown()
            thread.join()


def _pass_on(from_: socket.socket, to: socket.socket) -> None:
    """Until either side ends."""
    with suppress(OSError):
        while some := from_.recv(1 << 16):
            to.sendall(some)
    for side in (from_, to):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
