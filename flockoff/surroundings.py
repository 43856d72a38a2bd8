"""Environment variables that silently affect the HTTP and WebSocket libraries, TLS, or the hub's client."""

import os
from collections.abc import Mapping

from flockoff.text import secrets_in

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
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
    return [*connecting(environ), *_set((*_HUBS_ADDRESS, *_HUB), environ)]


def connecting(environ: Mapping[str, str] = os.environ, *, hub: bool = False, tls: bool = True) -> list[str]:
    """The names of those set that affect connections: proxies, certificates, with ``hub`` its address too."""
    wanted = [*_both_cases(), *(_TLS if tls else ()), *(_HUBS_ADDRESS if hub else ())]
    return _set(wanted, environ)


def proxy_secrets(environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """What of the proxies' addresses no message may show: their passwords, and an address with one as a
    whole, because libraries quote what they cannot read.
    """
    values = {environ[name] for name in _set(_both_cases(), environ)}
    with_password = {value for value in values if "@" in value}
    return frozenset().union(with_password, *map(secrets_in, with_password))


def _both_cases() -> list[str]:
    return [*_PROXIES, *(name.lower() for name in _PROXIES)]


def _set(names: list[str] | tuple[str, ...], environ: Mapping[str, str]) -> list[str]:
    return [name for name in names if environ.get(name)]
