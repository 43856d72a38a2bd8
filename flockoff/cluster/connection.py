"""Connecting this process to a Ray cluster."""

import logging
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import ray

_ANSWER_SECONDS = 10.0
_TRIES = 3


def connect(address: str, on_try: Callable[[], None] = lambda: None) -> None:
    """Raises ConnectionError where nobody lets it in, RuntimeError where Ray or Python are other versions.

    A head sometimes loses what it starts for a client (ray-project/ray#63202) and says so after half a
    minute: it is asked up to three times. ``on_try`` is called before each.
    """
    where = urlsplit(address)
    try:  # Ray itself tries for half a minute, with an error a screen long
        socket.create_connection((where.hostname, where.port), _ANSWER_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"nobody answers there ({error.strerror or error})") from error
    for number in range(1, _TRIES + 1):
        on_try()
        try:
            ray.init(address, namespace="flockoff", log_to_driver=False, logging_level=logging.WARNING)
            return
        except ConnectionAbortedError as error:  # with the traceback of the head
            if number == _TRIES:
                raise ConnectionError(f"its head says {str(error).strip().splitlines()[-1]}") from error
        except ConnectionError as error:
            raise ConnectionError(f"{error}; are RAY_AUTH_MODE and the token the cluster's?") from error
