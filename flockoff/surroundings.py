"""Environment variables that silently affect the HTTP and WebSocket libraries, TLS, or the hub's client."""

import os
from collections.abc import Mapping, Sequence

from flockoff.text import secrets_in

_WEB_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_NODE_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "SOCKS_PROXY", "WS_PROXY", "WSS_PROXY", "NO_PROXY")
_ALL_PROXIES = tuple(dict.fromkeys((*_WEB_PROXIES, *_NODE_PROXIES)))
_TLS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_HUBS_ADDRESS = ("HF_ENDPOINT", "HUGGINGFACE_CO_STAGING")
_HUB = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_HUB_DOWNLOAD_TIMEOUT",
    "HF_HUB_ETAG_TIMEOUT",
    "HF_TOKEN_PATH",
    "HF_OIDC_RESOURCE",
    "HF_HUB_DISABLE_XET",
)


def steering(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The names of all that are set; their values may contain passwords."""
    return _set((*_both_cases(_ALL_PROXIES), *_TLS, *_HUBS_ADDRESS, *_HUB), environ)


def connecting(environ: Mapping[str, str] = os.environ, *, hub: bool = False) -> list[str]:
    """The names of those set that affect HTTP: proxies, certificates, with ``hub`` its address too."""
    return _set((*_both_cases(_WEB_PROXIES), *_TLS, *(_HUBS_ADDRESS if hub else ())), environ)


def connecting_to_node(environ: Mapping[str, str] = os.environ, *, tls: bool) -> list[str]:
    """The names of those set that affect the SDK's WebSocket: ALL_PROXY is not among them."""
    return _set((*_both_cases(_NODE_PROXIES), *(_TLS if tls else ())), environ)


def proxy_secrets(environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """What of the proxies' addresses no message may show: their passwords, and an address with one as a
    whole, because libraries quote what they cannot read.
    """
    values = {environ[name] for name in _set(_both_cases(_ALL_PROXIES), environ)}
    with_password = {value for value in values if "@" in value}
    return frozenset().union(with_password, *map(secrets_in, with_password))


def _both_cases(names: Sequence[str]) -> list[str]:
    return [*names, *(name.lower() for name in names)]


def _set(names: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    return [name for name in names if environ.get(name)]
