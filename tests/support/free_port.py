"""A port for a server that must be given one."""

import os
import socket
from contextlib import suppress
from itertools import count

# Below what systems give to whoever asks for any port, so that nobody is given it before its server starts.
_FIRST, _LAST = 20_000, 32_000
_APART = 50  # more than any of the processes that test at once asks for
_asked = count()


def free_port() -> int:
    """A port that nobody is listening on now, another one each time."""
    while True:
        port = _FIRST + (os.getpid() * _APART + next(_asked)) % (_LAST - _FIRST)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
