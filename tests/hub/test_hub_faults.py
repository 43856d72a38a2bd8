"""Every row of the table of errors."""

import httpx2
import pytest
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
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
    Reason,
    SetupError,
)
from flockoff.hub.files import Missing
from flockoff.hub.translation import FOREIGN, RULES, retry_after, rule_for, translate, translated

REQUEST = httpx2.Request("GET", "http://hub/x", headers={"Authorization": "Bearer hf_secret"})


def http_error(
    status: int, kind: type[HfHubHTTPError] = HfHubHTTPError, headers: dict[str, str] | None = None
) -> HfHubHTTPError:
    response = httpx2.Response(status, headers=headers, request=REQUEST)
    return kind("it failed", response=response, server_message="said the hub.\nmore")


CASES: list[tuple[Exception, type[FlockoffError]]] = [
    (http_error(404, RepositoryNotFoundError), Missing),
    (http_error(401, RepositoryNotFoundError), Missing),
    (http_error(403, GatedRepoError), Missing),
    (http_error(403, DisabledRepoError), Missing),
    (http_error(404, RevisionNotFoundError), Missing),
    (http_error(404, RemoteEntryNotFoundError), Missing),
    (http_error(401), HubUnauthorized),
    (http_error(402), HubFatal),
    (http_error(403), HubUnauthorized),
    (http_error(408), HubTransient),
    (http_error(409), HubTransient),
    (http_error(412), HubTransient),
    (http_error(425), HubTransient),
    (http_error(429), HubTransient),
    (http_error(500), HubTransient),
    (http_error(503), HubTransient),
    (http_error(404), HubFatal),
    (http_error(400), HubFatal),
    (http_error(413), HubFatal),
    (LocalTokenNotFoundError("no token"), HubUnauthorized),
    (OfflineModeIsEnabled("offline"), SetupError),
    (httpx2.UnsupportedProtocol("no scheme"), SetupError),
    (httpx2.InvalidURL("what"), SetupError),
    (httpx2.ConnectError("refused"), HubTransient),
    (httpx2.ConnectTimeout("late"), HubTransient),
    (httpx2.ReadTimeout("late"), HubTransient),
    (httpx2.WriteTimeout("late"), HubTransient),
    (httpx2.PoolTimeout("late"), HubTransient),
    (httpx2.ReadError("reset"), HubTransient),
    (httpx2.WriteError("reset"), HubTransient),
    (httpx2.CloseError("reset"), HubTransient),
    (httpx2.ProxyError("proxy"), HubTransient),
    (httpx2.RemoteProtocolError("cut"), HubTransient),
    (httpx2.LocalProtocolError("bad"), HubTransient),
    (httpx2.DecodingError("gzip"), HubTransient),
    (httpx2.TooManyRedirects("round"), HubTransient),
    (OSError(28, "No space left on device"), SetupError),
    (HFValidationError("bad id"), HubFatal),
    (ValueError("not JSON"), HubFatal),
    (KeyError("id"), HubFatal),
    (TypeError("a list"), HubFatal),
]


@pytest.mark.parametrize(
    ("foreign", "ours"), CASES, ids=lambda value: getattr(value, "__name__", repr(value))
)
def test_translate_each_foreign_error_becomes_ours(foreign: Exception, ours: type[FlockoffError]) -> None:
    assert isinstance(foreign, FOREIGN)
    assert type(translate(foreign, "do it")) is ours


def test_cases_cover_every_rule() -> None:
    assert {RULES.index(rule_for(error)) for error, _ in CASES} == set(range(len(RULES)))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (RepositoryNotFoundError, Reason.REPO_MISSING),
        (GatedRepoError, Reason.REPO_MISSING),
        (DisabledRepoError, Reason.REPO_MISSING),
        (RevisionNotFoundError, Reason.COMMIT_MISSING),
        (RemoteEntryNotFoundError, Reason.FILE_MISSING),
    ],
)
def test_translate_missing_things_keep_their_reason(kind: type[HfHubHTTPError], reason: Reason) -> None:
    missing = translate(http_error(404, kind), "look")
    assert isinstance(missing, Missing) and missing.reason is reason


def test_translate_message_is_one_line_without_token() -> None:
    message = translate(http_error(500), "download alice/x").message
    assert message == "Could not download alice/x: the hub answered 500 (said the hub)."
    assert "hf_secret" not in repr(translate(http_error(401), "look"))


def test_translate_reason_that_the_library_replaced_by_its_own_is_kept() -> None:
    said = httpx2.Response(401, json={"error": "Token hf_secret is expired"}, request=REQUEST)
    replaced = HfHubHTTPError("Invalid user token.", response=said)
    message = translate(replaced, "check the hub token").message
    assert message == "Could not check the hub token: the hub answered 401 (Token *** is expired)."


def test_translate_upload_thread_error_is_seen_through() -> None:
    wrapped = RuntimeError("Error while uploading")
    wrapped.__cause__ = httpx2.ReadError("reset")
    assert type(translate(wrapped, "upload")) is HubTransient


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "7"}, 7.0),
        (503, {"Retry-After": " 120 "}, 120.0),
        (429, {"ratelimit": '"api";r=0;t=55'}, 55.0),
        (429, {"ratelimit": '"api";r=3;t=55'}, None),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        (500, {}, None),
    ],
)
def test_retry_after_is_what_the_hub_asks_for(
    status: int, headers: dict[str, str], seconds: float | None
) -> None:
    response = httpx2.Response(status, headers=headers, request=httpx2.Request("GET", "http://hub/"))
    assert retry_after(response) == seconds
    error = translate(http_error(status, headers=headers), "look")
    assert isinstance(error, HubTransient) and error.retry_after == seconds


def test_translated_leaves_our_own_errors_alone() -> None:
    ours = HubFatal("no")
    with pytest.raises(HubFatal) as caught, translated("look"):
        raise ours
    assert caught.value is ours
