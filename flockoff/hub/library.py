"""All that this package takes from other libraries' private parts, watched by tests/hub/test_hub_library.py.

huggingface_hub documents its three functions, but offers them untyped. httpcore2 takes a network backend,
which httpx2 has no way to pass on.
"""

import httpcore2
import httpx2
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status, parse_ratelimit_headers

__all__ = ["build_hf_headers", "connect_through", "hf_raise_for_status", "parse_ratelimit_headers"]


def connect_through(client: httpx2.Client, backend: httpcore2.NetworkBackend) -> None:
    """Let all connections of ``client``, by proxy or not, be made by ``backend``."""
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx2.HTTPTransport):
            transport._pool._network_backend = backend
