"""A bug report's attachment contains no secret, wherever there was one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from flockoff.doctor.bundle import masked, secrets_around
from flockoff.ledger import Ledger
from flockoff.openers import ledger_path
from tests.support.ledger_records import begin, commitment

SECRETS = {
    "HF_TOKEN": "hf_plantedtoken1",
    "HF_ENDPOINT": "http://ann:planted-endpoint-2@127.0.0.1:9/planted-path-3",
    "FLOCKOFF_ALERTS": "discord://planted_id_4/planted_token_5 mailto://ann:planted-mail-6@example.com",
    "WANDB_API_KEY": "planted-wandb-7",
    "HTTPS_PROXY": "http://ann:planted-proxy-8@127.0.0.1:9",
    "BT_PW__WALLETS": "planted wallet-password-9",
    "AWS_SECRET_ACCESS_KEY": "planted-cloud-10",
}


def planted(log_dir: Path, data_dir: Path) -> None:
    """Secrets in the log, as an old version or another program may have left them, and in the ledger."""
    log_dir.mkdir()
    lines = [
        "2026-01-01 ERROR http://bob:planted-log-11@host/ refused",
        "Authorization: Bearer planted-log-12",
        "GET https://node.example/?token=planted-log-13&x=1",
        "your mnemo: planted-log-14 ape bee cat dog elk fox",
        "hf_plantedlog15 is not valid",
        "node wss://node.example/planted-node-16 does not answer",
        *(f"{name}={value}" for name, value in SECRETS.items()),
    ]
    (log_dir / "validator.log").write_text("\n".join(lines) + "\nlast line\n", encoding="utf-8")
    with Ledger.open(ledger_path(data_dir), netuid=1, competition="f127", hotkey="hotkey") as ledger:
        ledger.record_commitments([commitment("annabel", 100)])
        begin(ledger, ("annabel",))


@pytest.mark.slow
def test_bundle_has_no_secret_in_it(
    command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(tmp_path / "logs", tmp_path / "data")
    (tmp_path / ".env").write_text('export OTHER_TOKEN="planted-env-17"\nHF_TOKEN=hf_planted18\n')
    monkeypatch.chdir(tmp_path)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    folders = ["--data-dir", str(tmp_path / "data"), "--cache-dir", str(tmp_path / "cache")]
    node = ["--netuid", "1", "--chain", "ws://127.0.0.1:9/planted-node-16"]
    out = tmp_path / "bundle.txt"
    flags = ["--bundle", str(out), "--logging.logging_dir", str(tmp_path / "logs")]
    done = command("doctor", "miner", *folders, *node, *flags)
    text = out.read_text(encoding="utf-8")
    assert "planted" not in text and "planted" not in done.output
    for word in (
        "last line",
        "WANDB_API_KEY",
        "ws://127.0.0.1:9",
        "eligible",
        "rules ",
        "bittensor 11",
        "[bad]",
    ):
        assert word in text, word
    assert "look through it before you attach it" in done.stderr
    assert os.environ["HOME"] not in text


def test_bundle_of_nothing_says_what_is_missing(command: Callable[..., Result], tmp_path: Path) -> None:
    out = tmp_path / "new" / "bundle.txt"
    command(
        "doctor", "miner", "--data-dir", str(tmp_path), "--cache-dir", str(tmp_path), "--bundle", str(out)
    )
    text = out.read_text(encoding="utf-8")
    assert "There is none in" in text and "give --logging.logging_dir" in text


def test_secrets_around_are_values_of_secret_names_and_parts_of_addresses(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"A_TOKEN=\xffabcdefgh\nX=1\n")
    found = secrets_around({"MY_KEY": "abcdef", "PATH": "/usr/bin", "URL": "http://a:sesame-1@h/"}, [file])
    assert {"abcdef", "sesame-1"} <= found and "/usr/bin" not in found
    assert masked("x hf_abcdefgh abcdef /home/ann/y", found, home="/home/ann") == "x *** *** ~/y"
