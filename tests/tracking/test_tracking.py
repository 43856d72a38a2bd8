"""Logging epochs to Weights & Biases, offline: the run's file has what would be sent."""

import logging
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flockoff.errors import SetupError
from flockoff.records import WeightsSet
from flockoff.tracking import tracked
from tests.support.ledger_records import (
    EPOCH,
    begin,
    eligible,
    evaluate,
    evaluation,
    judge,
    measurement,
    open_ledger,
    settlement,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    with open_ledger(path) as opened:
        opened.record_base_loss(measurement(2.0))
        begin(opened, ("ann", "bob"))
        evaluate(opened, evaluation("ann", 1.25))
        judge(opened, replace(eligible("ann", 1.25), model_id="\x1b[2Jhostile"))
        opened.close_epoch(
            settlement(
                EPOCH.start_block,
                scores={"ann": 0.2},
                evaluated=["ann"],
                win_rates={"ann": 1.0},
                shares={"ann": 1.0},
            ),
            block=EPOCH.end_block,
        )
        opened.record_weights(WeightsSet(EPOCH.start_block, 7, "7-1", {"ann": 1.0}))
    return path


def written(file: Path, last: bytes) -> bytes:
    """What wandb's own process has written, once ``last`` is there: its finish() may return before."""
    for _ in range(3000):
        if last in (content := file.read_bytes()):
            return content
        time.sleep(0.1)
    raise AssertionError(f"{last!r} was never written, only {len(content)} bytes")


@pytest.mark.slow
def test_tracked_epoch_is_in_the_offline_run(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    where = tmp_path / "tracked"
    with tracked("flock", None, ledger=ledger, directory=where, config={"netuid": 7}) as tell:
        tell(EPOCH.start_block)
    [run] = (where / "wandb").glob("offline-run-*/*.wandb")
    content = written(run, b"leaderboard")
    for name in (b"loss/uid_1", b"1.25", b"weight/uid_1", b"epoch/eligible", b"loss/base", b"leaderboard"):
        assert name in content
    assert b"\x1b[2J" not in content


@pytest.mark.slow
def test_tracked_epoch_that_cannot_be_read_is_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = tmp_path / "ledger.sqlite"
    with (
        caplog.at_level(logging.WARNING),
        tracked("flock", None, ledger=missing, directory=tmp_path, config={}) as tell,
    ):
        tell(EPOCH.start_block)
    assert (
        "could not be logged to Weights & Biases" in caplog.text
        and "The next one will be tried." in caplog.text
    )


def test_tracked_without_a_project_does_nothing(tmp_path: Path) -> None:
    with tracked(None, None, ledger=tmp_path / "none", directory=tmp_path, config={}) as tell:
        tell(EPOCH.start_block)
    assert list(tmp_path.iterdir()) == []


def test_tracked_without_wandb_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # as Python marks a module that cannot be imported
    with (
        pytest.raises(SetupError, match="uv sync --extra wandb"),
        tracked("flock", None, ledger=tmp_path / "none", directory=tmp_path, config={}),
    ):
        raise AssertionError("it must not begin")
