"""Everything used here of other libraries' private parts, guarded by tests/hub/test_hub_library.py.

huggingface_hub's three functions are documented but untyped. httpcore2 accepts a network backend, but httpx2
cannot pass one on.
"""

import httpcore2
import httpx2
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status, parse_ratelimit_headers

__all__ = ["build_hf_headers", "connect_through", "hf_raise_for_status", "parse_ratelimit_headers"]


def connect_through(client: httpx2.Client, backend: httpcore2.NetworkBackend) -> None:
    """Make ``backend`` open all connections of ``client``, proxied or not."""
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx2.HTTPTransport):
            transport._pool._network_backend = backend
