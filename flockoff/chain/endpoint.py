"""The node's endpoint, from a network's name or a WebSocket address."""

from urllib.parse import urlsplit

from flockoff.errors import UsageError


def resolve_endpoint(network: str, chain_endpoint: str | None) -> str:
    """The WebSocket address of ``network`` (a name that the SDK knows, or an address itself).

    ``chain_endpoint`` takes precedence. Raises UsageError for anything else.
    """
    given = chain_endpoint or network
    if given.startswith(("ws://", "wss://")):
        _check_address(given)
        return given
    from bittensor.settings import NETWORKS

    if given not in NETWORKS:
        raise UsageError(
            f"{given!r} is neither a network nor a node's address.",
            remedy=f"Give one of {', '.join(sorted(NETWORKS))}, or an address such as ws://127.0.0.1:9944.",
        )
    return NETWORKS[given]


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete or any(character.isspace() for character in address):
        raise UsageError(
            f"{address!r} is not a node's address.",
            remedy="Give it as ws://host:port or wss://host:port, an IPv6 address in brackets: ws://[::1]:9944.",
        )
