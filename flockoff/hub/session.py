"""The one HTTP client through which this process talks to hubs, huggingface_hub's own requests included."""

import logging
import threading
from functools import cache
from http import HTTPStatus
from typing import Any

import httpx2
from huggingface_hub import constants, get_session, is_offline_mode, set_client_factory
from huggingface_hub.errors import OfflineModeIsEnabled

from flockoff.errors import HubTransient, SetupError
from flockoff.hub.deadline import current_call, watch
from flockoff.hub.translation import reason_of, retry_after, translate
from flockoff.surroundings import connecting, proxy_secrets
from flockoff.text import without

# Seconds of silence. By default huggingface_hub waits for ever for whoami, create or commit.
_TIMEOUT = httpx2.Timeout(60.0, connect=15.0)
_configuring = threading.Lock()


def session() -> httpx2.Client:
    """The client, created on first use. No request outlives its ``deadline.HubCall``."""
    configure_library()
    return get_session()


def configure_library() -> None:
    """Make huggingface_hub use our client and send no telemetry; once per process, from any thread."""
    with _configuring:
        _configure()


@cache
def _configure() -> None:
    constants.HF_HUB_DISABLE_TELEMETRY = True
    constants.HF_HUB_DISABLE_XET = True  # not every hub has it, and its transfers know none of our limits
    # It writes to the terminal itself, for example a hub's X-HF-Warning, unescaped.
    library = logging.getLogger("huggingface_hub")
    library.handlers.clear()
    library.propagate = True
    set_client_factory(_Client)


class _Client(httpx2.Client):
    """Raises our own errors, which huggingface_hub does not catch.

    Otherwise it would retry some requests after 429, 5xx and network errors, sleeping as long as Retry-After
    says.
    """

    def __init__(self) -> None:
        try:
            super().__init__(
                event_hooks={
                    "request": [_refuse_offline],
                    "response": [_check_busy, _check_page, _check_redirect],
                },
                follow_redirects=True,
                timeout=_TIMEOUT,
            )
        except (ValueError, ImportError, OSError) as error:  # an SSLError is an OSError
            names = ", ".join(connecting())
            said = without(str(error), proxy_secrets())
            raise SetupError(
                f"The environment's settings allow no connection to a hub: {said}.",
                remedy=f"Correct or unset {names or 'what names proxies and certificates'}. "
                "A proxy is an http://, https:// or socks5:// address.",
            ) from error
        watch(self)

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        try:
            return super().send(request, **options)
        except httpx2.RequestError as error:
            raise translate(error, _doing(request)) from error


def _doing(request: httpx2.Request) -> str:
    call = current_call()
    return call.doing if call else f"reach {request.url.host}"


def _refuse_offline(request: httpx2.Request) -> None:
    if is_offline_mode():
        raise OfflineModeIsEnabled(f"HF_HUB_OFFLINE forbids requests to {request.url.host}")


def _check_busy(response: httpx2.Response) -> None:
    """Raises HubTransient for 429 and 5xx, ignoring any error code in the response."""
    if response.status_code == HTTPStatus.TOO_MANY_REQUESTS or response.status_code >= 500:
        said = reason_of(response)
        reason = f" ({said})" if said else ""
        raise HubTransient(
            f"Could not {_doing(response.request)}: the hub answered {response.status_code}{reason}.",
            retry_after=retry_after(response),
        )


def _check_page(response: httpx2.Response) -> None:
    """Raises HubTransient for a web page where a hub answers in JSON: a proxy's, or a network's sign-in."""
    page = response.headers.get("content-type", "").lower().startswith("text/html")
    path = response.request.url.path  # a mirror may have its API below a folder
    if response.is_success and page and "/api/" in path and "/resolve/" not in path:
        raise HubTransient(
            f"Could not {_doing(response.request)}: a web page came instead of the hub's answer.",
            remedy="Check that HF_ENDPOINT, if set, is the address of a Hugging Face Hub; sign in to this "
            "network if it asks for that.",
        )


def _check_redirect(response: httpx2.Response) -> None:
    """Allow redirects (of a renamed repo) only to the hub itself."""
    call = current_call()
    if call is None or call.home is None or not response.has_redirect_location:
        return
    here = response.request.url
    target = here.join(response.headers["location"])
    stays = target.origin == here.origin or (target.host == here.host and target.scheme == "https")
    if here.host == call.home.host and not stays:
        raise HubTransient(
            f"Could not {call.doing}: the hub redirects to {target.scheme}://{target.netloc.decode()}.",
            remedy="Set HF_ENDPOINT to the hub's own address; sign in to this network if it asks for that.",
        )
    check_scheme(here, target)


def check_scheme(here: httpx2.URL, target: httpx2.URL) -> None:
    """Raises HubTransient for a redirect to anything but HTTP, or from HTTPS to unencrypted HTTP."""
    if target.scheme != "https" and target.scheme != here.scheme:
        raise HubTransient(f"The hub redirects to {target.scheme}://{target.host}, which is not safe.")
