"""Tokens, and addresses with keys in them: no error names them, no record shows them."""

import dataclasses
import json
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flockoff.chain import open_chain
from flockoff.errors import ChainTransient, FlockoffError, HubFatal
from flockoff.hub import HubClient, Patience
from flockoff.hub.retries import Stop
from flockoff.hub.transfer import Transfer
from flockoff.localnet.hub import HubServer, HubSettings
from flockoff.localnet.hub.script import answer
from flockoff.settings import Credentials, miner_settings, read_credentials

PASSWORD = "hub-password-41fe"
KEY = "node-key-5f0c1d2e"
NO_PORT = "127.0.0.1:1"  # nobody listens there


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(HubSettings(state_dir=tmp_path)) as hub:
        yield hub


def client(endpoint: str, token: str) -> HubClient:
    return HubClient(token, endpoint, patience=Patience(tries=1))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
@pytest.mark.parametrize("path", ["/api/whoami-v2", "/api/datasets/", "/resolve/"])
def test_hub_error_that_repeats_the_token_is_passed_on_without_it(
    hub: HubServer, tmp_path: Path, status: int, path: str
) -> None:
    token = hub.add_user("alice")
    file = tmp_path / "data.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    alice = client(hub.endpoint, token)
    commit = alice.upload("alice/data", file).commit
    told = f"Bearer {token} is refused"
    reply = answer(status, json.dumps({"error": told}).encode(), {"X-Error-Message": told})
    hub.faults.add("*", path, reply, times=float("inf"))
    with pytest.raises(FlockoffError) as caught:
        alice.account()
        alice.download("alice/data", commit, tmp_path / "there", max_bytes=1000)
    assert token not in repr(caught.value)
    assert token not in str(caught.value)


def test_hub_refusal_is_passed_on_but_for_the_token(hub: HubServer) -> None:
    token = hub.add_user("alice")
    refusal = json.dumps({"error": f"Ask support about {token}."}).encode()
    hub.faults.add("GET", "/api/datasets/", answer(400, refusal))
    with pytest.raises(HubFatal, match=r"Ask support about \*\*\*"):
        client(hub.endpoint, token).repo_state("alice/data")


@pytest.mark.parametrize("address", [NO_PORT, "no-such-host.invalid", "[::1"])
def test_hub_out_of_reach_is_named_without_its_password(address: str) -> None:
    with pytest.raises(FlockoffError) as caught:
        client(f"http://alice:{PASSWORD}@{address}", "hf_a_token").account()
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("rest", [f"/?apikey={KEY}", f"/{KEY}", f"/ws/{KEY}/v1"])
def test_node_out_of_reach_is_named_without_its_key(rest: str, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        closing(open_chain(endpoint=f"ws://{NO_PORT}{rest}", netuid=1, wallet=None)) as chain,
        pytest.raises(ChainTransient, match=f"ws://{NO_PORT}") as caught,
    ):
        chain.block()
    assert KEY not in str(caught.value)
    assert KEY not in caplog.text


def test_credentials_file_cannot_have_other_variables_put_into_an_address(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HF_ENDPOINT=http://hub.example/${DATABASE_URL}\n", encoding="utf-8")
    found = read_credentials({"DATABASE_URL": PASSWORD}, tmp_path)
    assert found.hf_endpoint == "http://hub.example/${DATABASE_URL}"


def test_settings_and_transfers_show_no_secret() -> None:
    settings = miner_settings(
        [
            *("--netuid", "1", "--hf_repo_id", "alice/data"),
            *("--subtensor.chain_endpoint", f"wss://node.example/{KEY}"),
            *("--subtensor.network", f"wss://node.example/?key={KEY}"),
        ]
    )
    credentials = Credentials("hf_a_token", f"https://alice:{PASSWORD}@hub.example")
    neuron = dataclasses.replace(settings.neuron, credentials=credentials)
    settings = dataclasses.replace(settings, neuron=neuron)
    transfer = Transfer("https://hub.example", {"authorization": "Bearer hf_a_token"}, 1.0, 1.0, Stop())
    shown = f"{settings} {transfer} {HubClient('hf_a_token')!r}"
    assert [secret for secret in ("hf_a_token", PASSWORD, KEY) if secret in shown] == []
    assert neuron.secrets >= {"hf_a_token", PASSWORD, KEY}
