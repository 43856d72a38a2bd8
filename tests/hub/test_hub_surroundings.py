"""Environment variables that affect the hub's libraries are named when they cause a failure."""

from collections.abc import Iterator

import pytest
from huggingface_hub import close_session

from flockoff.errors import HubTransient, SetupError
from flockoff.hub import HubClient
from flockoff.hub.session import _Client
from flockoff.localnet.hub import HubServer
from flockoff.surroundings import connecting, connecting_to_node, proxy_secrets, steering
from tests.support.hub_users import HASTE, owner_at
from tests.support.socks_proxy import socks_proxy


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


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_surroundings_with_a_socks_proxy_lead_through_it(
    scheme: str, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socks_proxy() as (address, asked):
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{address}")
        assert owner_at(hub, scheme).client.account().name == scheme
        close_session()
    assert asked == ["127.0.0.1"]


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


def test_surroundings_of_the_node_and_of_the_hub_are_told_apart() -> None:
    environ = {"ALL_PROXY": "socks5://a", "SOCKS_PROXY": "ann:hidden-word@b", "SSL_CERT_FILE": "/c"}
    assert connecting(environ) == ["ALL_PROXY", "SSL_CERT_FILE"]
    assert connecting_to_node(environ, tls=False) == ["SOCKS_PROXY"]
    assert connecting_to_node(environ, tls=True) == ["SOCKS_PROXY", "SSL_CERT_FILE"]
    assert steering(environ) == ["ALL_PROXY", "SOCKS_PROXY", "SSL_CERT_FILE"]
    assert "hidden-word@b" in proxy_secrets(environ)
