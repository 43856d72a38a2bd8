"""The one table that translates the errors of huggingface_hub and its HTTP library."""

import json
import re
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from flockoff.errors import (
    FlockoffError,
    HubFatal,
    HubTransient,
    HubUnauthorized,
    Interrupted,
    Reason,
    SetupError,
)
from flockoff.hub.files import Missing
from flockoff.hub.library import parse_ratelimit_headers
from flockoff.surroundings import connecting
from flockoff.text import without

FOREIGN = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, KeyError, TypeError, RuntimeError)

_REASON_BYTES = 64 * 1024
_LIMIT = re.compile(r"storage|quota|limit|exceeded|credits|payment|billing|upgrade", re.IGNORECASE)
_BARRED = re.compile(r"\b(banned|suspended|disabled|locked)\b", re.IGNORECASE)
_PAUSE = re.compile(r"\bin (?:about )?(\d{1,4}|an?) (second|minute|hour)s?\b", re.IGNORECASE)
_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}

_Translation = Callable[[str, Exception], FlockoffError]

_TOKEN_REMEDY = "Make a token at https://huggingface.co/settings/tokens and set HF_TOKEN to it."
_RIGHTS_REMEDY = (
    "Use a token whose role is write, of the account that owns the repo. In an organisation a contributor may"
    " only change the repos that it has created: for others it takes the role write."
)
_ENDPOINT_REMEDY = "Check that HF_ENDPOINT, if set, is the address of a Hugging Face Hub."
_LIMIT_REMEDY = (
    "Make room in the account (https://huggingface.co/settings/storage), or use another account's repo."
)
_BARRED_REMEDY = "No token helps: ask the hub's support, or use another account."
_OFFLINE_REMEDY = "Unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE."


def _missing(reason: Reason) -> _Translation:
    return lambda message, _: Missing(reason, message)


def _transient(message: str, error: Exception) -> FlockoffError:
    after = retry_after(error.response) if isinstance(error, HfHubHTTPError) else None
    return HubTransient(message, retry_after=after)


def _unreachable(message: str, _: Exception) -> FlockoffError:
    names = connecting(hub=True)
    set_here = f", and {', '.join(names)}, set in the environment" if names else ""
    return HubTransient(message, remedy=f"Check this machine's network connection{set_here}.")


def _unauthorized(remedy: str) -> _Translation:
    return lambda message, _: HubUnauthorized(message, remedy=remedy)


def _fatal(remedy: str) -> _Translation:
    return lambda message, _: HubFatal(message, remedy=remedy)


def _forbidden(message: str, error: Exception) -> FlockoffError:
    """The hub refuses for lack of rights, because an account's quota is used up, or because it is barred."""
    said = _said(error) if isinstance(error, HfHubHTTPError) else ""
    if _LIMIT.search(said):
        return HubFatal(message, remedy=_LIMIT_REMEDY)
    if _BARRED.search(said):
        return HubFatal(message, remedy=_BARRED_REMEDY)
    return HubUnauthorized(message, remedy=_RIGHTS_REMEDY)


def _setup(remedy: str) -> _Translation:
    return lambda message, _: SetupError(message, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Rule:
    """The translation of errors of ``kind`` (and, if given, with an HTTP status in ``statuses``)."""

    kind: type[Exception]
    statuses: Container[int] | None
    translation: _Translation


# The first matching rule counts, so specific ones come first.
RULES = (
    Rule(RepositoryNotFoundError, None, _missing(Reason.REPO_MISSING)),  # gated repos too: a subclass
    Rule(DisabledRepoError, None, _missing(Reason.REPO_MISSING)),
    Rule(RevisionNotFoundError, None, _missing(Reason.COMMIT_MISSING)),
    Rule(RemoteEntryNotFoundError, None, _missing(Reason.FILE_MISSING)),
    Rule(HfHubHTTPError, {401}, _unauthorized(_TOKEN_REMEDY)),
    Rule(HfHubHTTPError, {402}, _fatal(_LIMIT_REMEDY)),
    Rule(HfHubHTTPError, {403}, _forbidden),
    # 409 and 412: another commit came in between, so the state must be read again
    Rule(HfHubHTTPError, {408, 409, 412, 425, 429}, _transient),
    Rule(HfHubHTTPError, range(500, 600), _transient),
    Rule(HfHubHTTPError, {404}, _fatal(_ENDPOINT_REMEDY)),  # a real hub says what it has not found
    Rule(HfHubHTTPError, None, _fatal("")),
    Rule(LocalTokenNotFoundError, None, _unauthorized(_TOKEN_REMEDY)),
    Rule(OfflineModeIsEnabled, None, _setup(_OFFLINE_REMEDY)),
    Rule(httpx2.UnsupportedProtocol, None, _setup(_ENDPOINT_REMEDY)),
    Rule(httpx2.InvalidURL, None, _setup(_ENDPOINT_REMEDY)),
    Rule(httpx2.HTTPError, None, _unreachable),  # timeouts, refused, reset and cut connections
    Rule(OSError, None, _setup("Check the disk's free space and the folder's permissions.")),
    Rule(Exception, None, _fatal(_ENDPOINT_REMEDY)),  # not a hub's answer
)


def translate(error: Exception, doing: str) -> FlockoffError:
    """Our error for a library's, raised while ``doing`` ("download alice/x")."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # huggingface_hub wraps what goes wrong in its uploads
    return rule_for(error).translation(f"Could not {doing}: {_detail(error)}.", error)


def rule_for(error: Exception) -> Rule:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    return next(
        rule
        for rule in RULES
        if isinstance(error, rule.kind) and (rule.statuses is None or status in rule.statuses)
    )


def _detail(error: Exception) -> str:
    """What happened, in one line, without the token even if the hub repeats it."""
    if isinstance(error, HfHubHTTPError):
        said = _said(error)
        return f"the hub answered {error.response.status_code}" + (f" ({said})" if said else "")
    if isinstance(error, httpx2.TimeoutException):
        return "the hub did not answer in time"
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:200].rstrip('.')}" if lines else type(error).__name__


def _said(error: HfHubHTTPError) -> str:
    """The hub's reason, also where the library has replaced it by its own (a refused token)."""
    said = without(error.server_message or "", _tokens(error.response.request))
    return said.split("\n")[0][:200].rstrip(".") or reason_of(error.response)


def _tokens(request: httpx2.Request) -> list[str]:
    """A request's credentials."""
    return request.headers.get("authorization", "").split()[1:]


def reason_of(response: httpx2.Response) -> str:
    """The hub's reason for refusing: one line without the token; empty if it gives none."""
    said = response.headers.get("x-error-message", "") or _error_in_body(response)
    return without(said, _tokens(response.request)).split("\n")[0][:200].rstrip(".")


def _error_in_body(response: httpx2.Response) -> str:
    length = response.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > _REASON_BYTES:
        return ""
    try:
        value = json.loads(response.read())
    except ValueError:
        return ""
    return str(value.get("error") or "") if isinstance(value, dict) else ""


def retry_after(response: httpx2.Response) -> float | None:
    """The pause in seconds that a response asks for, or None."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    if asked := _PAUSE.search(reason_of(response)):
        number, unit = asked.groups()
        return (float(number) if number.isdecimal() else 1.0) * _SECONDS[unit]
    limit = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    return None


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise libraries' errors as ours."""
    try:
        yield
    except FOREIGN as error:
        if isinstance(error.__cause__, FlockoffError | Interrupted):
            raise error.__cause__ from None  # huggingface_hub wraps what goes wrong in its uploads
        raise translate(error, doing) from error
