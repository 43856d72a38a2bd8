"""A port for a server that must be given one."""

import socket


def free_port() -> int:
    """A port that nobody is listening on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
