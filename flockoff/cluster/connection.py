"""Connecting this process to a Ray cluster."""

import logging
import socket
from urllib.parse import urlsplit

import ray

_ANSWER_SECONDS = 10.0


def connect(address: str) -> None:
    """Raises ConnectionError where nobody answers, RuntimeError where Ray or Python are other versions."""
    where = urlsplit(address)
    try:  # Ray itself tries for half a minute, with an error a screen long
        socket.create_connection((where.hostname, where.port), _ANSWER_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"nobody answers there ({error.strerror or error})") from error
    try:
        ray.init(address, namespace="flockoff", log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise ConnectionError(f"{error}; are RAY_AUTH_MODE and the token the cluster's?") from error
