"""Fetches a URL within limits on size and time."""

import time

import httpx2

from flockoff.errors import SetupError
from flockoff.surroundings import connecting, proxy_secrets
from flockoff.text import without

_IDLE_SECONDS = 10.0


def fetched(url: str, *, max_bytes: int, seconds: float) -> bytes:
    """The body of a 200 response. Raises SetupError otherwise, worded as a sentence about "its server"."""
    deadline = time.monotonic() + seconds
    content = bytearray()
    try:
        with (
            _client(min(seconds, _IDLE_SECONDS)) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status_code != 200:
                raise SetupError(f"Its server answers {answer.status_code}.")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise SetupError("Its server sends compressed content, although asked not to.")
            for chunk in answer.iter_raw():
                content += chunk
                if len(content) > max_bytes:
                    raise SetupError(f"It is larger than {max_bytes // 2**20} MiB.")
                if time.monotonic() > deadline:
                    raise SetupError(f"It took longer than {seconds:.0f} s.")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise SetupError(f"Its server does not answer ({type(error).__name__}).") from error
    return bytes(content)


def _client(idle_seconds: float) -> httpx2.Client:
    """Raises SetupError if the proxies or certificates named in the environment cannot be used."""
    try:
        return httpx2.Client(timeout=idle_seconds, follow_redirects=True, max_redirects=3)
    except (ValueError, ImportError, OSError) as error:  # an SSLError is an OSError
        said, names = without(str(error), proxy_secrets()), ", ".join(connecting())
        raise SetupError(
            f"The environment's settings ({names or 'proxies, certificates'}) allow no connection: {said}."
        ) from error
