"""The ledger's records of owners of claims."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flockoff.competition import Competition
from flockoff.dataset import Owner
from flockoff.epoch.settle import settle
from flockoff.ledger import Ledger
from flockoff.records import Epoch
from tests.support.ledger_records import eligible, judge, open_ledger

COLDKEYS = {"ann": "cold ann", "bob": "cold bob"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def play(ledger: Ledger, start: int, coldkeys: dict[str, str], losses: dict[str, float]) -> None:
    ledger.begin_epoch(Epoch(start, start + 360, start), [], coldkeys=coldkeys)
    for hotkey, loss in losses.items():
        judge(ledger, eligible(hotkey, loss, epoch=start))
    verdicts = ledger.verdicts(start)
    found = settle(
        start, verdicts, ledger.memory(start), coldkeys, Competition(), ledger.evidence(verdicts, {})
    )
    ledger.close_epoch(found, block=start + 300)


def test_owners_are_known_from_when_they_are_registered(ledger: Ledger) -> None:
    ledger.begin_epoch(Epoch(360, 720, 1), [], coldkeys=COLDKEYS)
    new = Owner("cold ann", registered=True, succeeded=False, evaluations=0, best_win_rate=None)
    assert ledger.owners()["ann"] == new


def test_owners_keep_how_often_they_were_evaluated_and_their_best_win_rate(ledger: Ledger) -> None:
    play(ledger, 360, COLDKEYS, {"ann": 1.0, "bob": 1.5})
    play(ledger, 720, COLDKEYS, {"ann": 1.5, "bob": 1.0})
    play(ledger, 1080, COLDKEYS, {"ann": 1.5})
    owners = ledger.owners()
    assert (owners["ann"].evaluations, owners["ann"].best_win_rate) == (3, 1.0)
    assert (owners["bob"].evaluations, owners["bob"].best_win_rate) == (2, 1.0)


def test_owners_that_left_are_succeeded_by_another_hotkey_of_their_coldkey(ledger: Ledger) -> None:
    play(ledger, 360, COLDKEYS, {"ann": 1.0})
    play(ledger, 720, {"ann two": "cold ann", "cyd": "cold cyd"}, {})
    owners = ledger.owners()
    assert (owners["ann"].registered, owners["ann"].succeeded) == (False, True)
    assert (owners["bob"].registered, owners["bob"].succeeded) == (False, False)
    assert (owners["ann two"].registered, owners["ann two"].succeeded) == (True, False)
