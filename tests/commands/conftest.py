"""A ledger with a past, and the ``flockoff`` command on it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import Result

from flockoff.errors import Reason
from flockoff.openers import ledger_path
from flockoff.records import Verdict, WeightsSet
from tests.support.ledger_records import (
    EPOCH,
    begin,
    commitment,
    eligible,
    evaluate,
    evaluation,
    judge,
    measurement,
    open_ledger,
    settlement,
)
from tests.support.playground import Playground, running_playground
from tests.support.typed import typed_commands


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory, isolated_home: None) -> Iterator[Playground]:
    with running_playground(tmp_path_factory.mktemp("playground"), miners=2) as playground:
        yield playground


HOSTILE = "\x1b[2J[red]evil[/red]<script>"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """One closed epoch: annabel before bobbybob, carlotta a hostile copy, dora without a turn."""
    with open_ledger(ledger_path(tmp_path)) as ledger:
        ledger.record_commitments([commitment("annabel", 100), commitment("bobbybob", 101, uid=2)])
        ledger.record_commitments([commitment("carlotta", 102, uid=3)])
        ledger.record_base_loss(replace(measurement(2.0), row_nll=()))
        begin(ledger, ("annabel", "bobbybob", "carlotta"))
        for hotkey, loss in (("annabel", 1.5), ("bobbybob", 1.8)):
            evaluate(ledger, evaluation(hotkey, loss))
        judge(ledger, eligible("annabel", 1.5))
        judge(ledger, eligible("bobbybob", 1.8, uid=2))
        judge(
            ledger,
            Verdict(EPOCH.start_block, "carlotta", 3, HOSTILE, 102, "at_fault", Reason.DUPLICATE, HOSTILE),
        )
        ledger.close_epoch(
            settlement(
                EPOCH.start_block,
                scores={"annabel": 0.2, "bobbybob": 0.1, "dora": 0.05},
                evaluated=["annabel", "bobbybob", "carlotta"],
                win_rates={"annabel": 1.0, "bobbybob": 0.0},
                shares={"annabel": 0.75, "bobbybob": 0.25},
            ),
            block=EPOCH.end_block,
        )
        ledger.record_weights(WeightsSet(EPOCH.start_block, 7, "7-1", {"annabel": 0.6, "bobbybob": 0.4}))
    return tmp_path


@pytest.fixture
def command() -> Iterator[Callable[..., Result]]:
    """Runs a command."""
    with typed_commands() as run:
        yield run


@pytest.fixture
def flockoff(data_dir: Path, command: Callable[..., Result]) -> Callable[..., Result]:
    """Runs a command on the ledger."""

    def run(*arguments: str) -> Result:
        folder = [] if "--data-dir" in arguments else ["--data-dir", str(data_dir)]
        return command(*arguments, *folder)

    return run
