"""Environment variables that affect the hub's libraries are named when they cause a failure."""

from collections.abc import Iterator

import pytest
from huggingface_hub import close_session

from flockoff.errors import HubTransient, SetupError
from flockoff.hub import HubClient
from flockoff.hub.session import _Client
from flockoff.surroundings import proxy_secrets, steering
from tests.support.hub_users import HASTE


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """None of this machine's own, and no client is shared between tests."""
    for name in steering():
        monkeypatch.delenv(name)
    close_session()
    yield
    close_session()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:9"),
        ("HTTPS_PROXY", "ftp://127.0.0.1:9"),
        ("SSL_CERT_FILE", "/not/there.pem"),
    ],
)
def test_surroundings_that_no_client_can_be_made_of_are_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SetupError, match=f"Correct or unset {name}"):
        _Client()


def test_surroundings_with_a_socks_proxy_make_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    _Client().close()


def test_surroundings_are_named_where_nothing_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:hidden-word@127.0.0.1:9")
    with pytest.raises(HubTransient, match="and HTTP_PROXY, set in the environment") as caught:
        HubClient("hf_token", "http://flockoff.invalid", patience=HASTE).account()
    assert "hidden-word" not in str(caught.value)


def test_surroundings_that_a_library_quotes_keep_their_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://user:hidden-word@127.0.0.1:9")
    with pytest.raises(SetupError) as caught:
        _Client()
    assert "hidden-word" not in str(caught.value)
    assert proxy_secrets({"https_proxy": "user:hidden-word@proxy:80", "NO_PROXY": "localhost"}) == {
        "user:hidden-word@proxy:80",
        "hidden-word@proxy:80",
    }


def test_surroundings_list_names_alone() -> None:
    found = steering(
        {"https_proxy": "http://secret@proxy", "HF_HUB_OFFLINE": "1", "HOME": "/", "ALL_PROXY": ""}
    )
    assert found == ["https_proxy", "HF_HUB_OFFLINE"]
