"""Environment variables that silently affect the HTTP library, TLS or the hub's client."""

import os
from collections.abc import Mapping

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_TLS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_HUB = (
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_HUB_DOWNLOAD_TIMEOUT",
    "HF_HUB_ETAG_TIMEOUT",
    "HF_TOKEN_PATH",
    "HF_OIDC_RESOURCE",
)


def steering(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The names of those that are set; their values may contain passwords."""
    connecting = [*_PROXIES, *(name.lower() for name in _PROXIES), *_TLS]
    return [name for name in (*connecting, *_HUB) if environ.get(name)]


def connecting(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Those set that affect connections: proxies, certificates, the hub's address."""
    hub = {*_HUB} - {"HF_ENDPOINT"}
    return [name for name in steering(environ) if name not in hub]
