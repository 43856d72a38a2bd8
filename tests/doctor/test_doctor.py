"""``flockoff doctor`` on this machine, against a local chain and hub."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flockoff.chain import WalletRef
from flockoff.cli import app
from flockoff.doctor.network import chain
from flockoff.settings import Credentials, NeuronSettings
from tests.support.playground import Playground

Doctor = Callable[..., Result]


@pytest.fixture
def doctor(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doctor]:
    """Runs the doctor with a hub token, and with whatever wallet is asked for."""
    root, ours = logging.getLogger(), logging.getLogger("flockoff")
    before = root.handlers[:], root.level, ours.level
    monkeypatch.setenv("HF_ENDPOINT", playground.hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", playground.reader())

    def run(role: str, wallet: WalletRef, *more: str) -> Result:
        flags = ["--wallet-name", wallet.name, "--wallet-hotkey", wallet.hotkey]
        flags += ["--wallet-path", str(wallet.path), "--netuid", str(playground.subnet.netuid)]
        flags += ["--chain", playground.node.endpoint, "--competition", str(playground.competition)]
        flags += ["--cache-dir", str(playground.directory / "cache")]
        flags += ["--data-dir", str(playground.directory / "validator")]
        return CliRunner().invoke(app, ["doctor", role, *flags, *more])

    yield run
    root.handlers[:], root.level, ours.level = before


def told(done: Result) -> dict[str, dict[str, str]]:
    return {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}


@pytest.mark.slow
def test_doctor_of_a_validator_finds_permit_device_and_clock(playground: Playground, doctor: Doctor) -> None:
    playground.node.advance()  # so that the last block is of now
    done = doctor("validator", playground.subnet.validators[0], "--json", "--device", "cpu")
    found = told(done)
    assert {name for name, finding in found.items() if finding["state"] == "bad"} <= {"device"}
    assert "a validator permit" in found["stake and permit"]["found"]
    assert found["clock and chain"]["found"] == "in step with each other"
    assert found["device"]["found"].startswith("cpu ")
    assert "lab/tiny" in found["base model"]["found"]


def test_doctor_of_a_miner_wants_a_token_that_may_write(playground: Playground, doctor: Doctor) -> None:
    done = doctor("miner", playground.subnet.miners[0])
    assert done.exit_code == 1
    assert "✗ hub token: validator, read-only" in done.stdout
    assert "put it into .env as HF_TOKEN" in done.stdout
    assert "✓ registration: uid " in done.stdout and "✓ commitment: none yet" in done.stdout


def test_doctor_without_the_wallet_says_how_to_make_it(playground: Playground, doctor: Doctor) -> None:
    missing = WalletRef("nobody", "default", playground.directory / "wallets")
    found = told(doctor("miner", missing, "--json"))
    assert found["wallet"]["state"] == "bad"
    assert "btcli wallet create" in found["wallet"]["remedy"]
    assert found["chain"]["state"] == "good"


def test_doctor_node_that_stands_still_is_not_in_sync(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()  # patched, because no test may set the machine's clock
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    [first, *_] = chain(settings_of(playground), "miner")
    assert (first.subject, first.state) == ("clock and chain", "bad")
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    [first, *_] = chain(settings_of(playground), "miner")
    assert first.state == "doubtful" and "timedatectl" in first.remedy


def test_doctor_without_a_netuid_leaves_the_chain_out(doctor: Doctor, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "miner", "--cache-dir", str(tmp_path)])
    assert "- chain and wallet: not checked" in done.stdout


def settings_of(playground: Playground) -> NeuronSettings:
    wallet = playground.subnet.miners[0]
    return NeuronSettings(
        wallet_name=wallet.name,
        wallet_hotkey=wallet.hotkey,
        wallet_path=wallet.path,
        network="local",
        chain_endpoint=playground.node.endpoint,
        netuid=playground.subnet.netuid,
        competition=None,
        credentials=Credentials(),
    )
