"""Clients that share what they know of certificates: loading those of a whole system takes as long as most
tests, and each client would do so, though hardly any test speaks TLS.
"""

import os
import ssl
from functools import cache

import httpcore2

_load = httpcore2.default_ssl_context


def share_certificates() -> None:
    """In this process from now on, and in those that are forked from it."""
    httpcore2.default_ssl_context = _shared


def _shared(*, _trust_env: bool = True) -> ssl.SSLContext:
    return _loaded(_trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _loaded(trust_env: bool, _file: str | None, _folder: str | None) -> ssl.SSLContext:
    return _load(_trust_env=trust_env)
