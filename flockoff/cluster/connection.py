"""Connecting this process to a Ray cluster."""

import logging
import socket
from urllib.parse import urlsplit

import ray

_ANSWER_SECONDS = 10.0
_TRIES = 3


def connect(address: str) -> None:
    """Raises ConnectionError without a connection, RuntimeError where Ray's or Python's versions differ.

    A head sometimes loses the server it starts for a client (ray-project/ray#63202), or takes longer to start
    it than Ray allows, and reports either after half a minute, so there are up to three tries.
    """
    where = urlsplit(address)
    try:  # Ray itself would try for half a minute, then print a screenful
        socket.create_connection((where.hostname, where.port), _ANSWER_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"no answer ({error.strerror or error})") from error
    for number in range(1, _TRIES + 1):
        try:
            ray.init(address, namespace="flockoff", log_to_driver=False, logging_level=logging.WARNING)
            return
        except ConnectionAbortedError as error:  # with the traceback of the head
            if number == _TRIES:
                raise ConnectionError(f"its head says {str(error).strip().splitlines()[-1]}") from error
        except ConnectionError as error:
            raise ConnectionError(f"{error} (do RAY_AUTH_MODE and the token match the cluster's?)") from error
