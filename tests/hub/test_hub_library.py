"""The private parts of other libraries used here exist, and behave as expected."""

import httpcore2
import httpx2
import huggingface_hub.utils
import pytest

from flockoff.hub import library
from flockoff.localnet.hub import HubServer


@pytest.mark.parametrize("name", ["build_hf_headers", "hf_raise_for_status", "parse_ratelimit_headers"])
def test_library_function_is_the_one_that_huggingface_hub_documents(name: str) -> None:
    assert getattr(library, name) is getattr(huggingface_hub.utils, name)


def test_library_headers_are_made_of_what_they_are_asked_for() -> None:
    made = library.build_hf_headers(token="hf_secret", library_name="flockoff", library_version="1")
    assert made["authorization"] == "Bearer hf_secret" and made["user-agent"].startswith("flockoff/1")


def test_library_rate_limit_is_read() -> None:
    limit = library.parse_ratelimit_headers({"ratelimit": '"api";r=0;t=55'})
    assert limit is not None and (limit.remaining, limit.reset_in_seconds) == (0, 55)


class _Counting(httpcore2.SyncBackend):
    connections = 0

    def connect_tcp(self, *arguments: object, **options: object) -> httpcore2.NetworkStream:
        self.connections += 1
        return super().connect_tcp(*arguments, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("by_proxy", [False, True])
def test_library_connections_go_through_the_backend(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, by_proxy: bool
) -> None:
    if by_proxy:  # the hub stands in for a proxy: only that it is connected to matters
        monkeypatch.setenv("HTTP_PROXY", hub.endpoint)
    backend = _Counting()
    with httpx2.Client() as client:
        library.connect_through(client, backend)
        client.get("http://flockoff.invalid/" if by_proxy else f"{hub.endpoint}/api/whoami-v2")
    assert backend.connections == 1
