"""The ledger's queries for people."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flockoff.errors import FaultKind, LedgerError, Reason
from flockoff.ledger import Ledger, LedgerIdentity
from flockoff.records import Epoch, Verdict, WeightsSet
from tests.support.ledger_records import (
    COMPETITION,
    EPOCH,
    NETUID,
    begin,
    commitment,
    eligible,
    evaluate,
    evaluation,
    judge,
    open_ledger,
    settlement,
)

FIRST = EPOCH.start_block
SECOND = Epoch(EPOCH.end_block, EPOCH.end_block + EPOCH.blocks, EPOCH.seed + 1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Two epochs: ann wins both, bob is at fault in the first and is not evaluated in the second."""
    with open_ledger(tmp_path / "ledger.sqlite") as opened:
        opened.record_commitments([commitment("annabel", 100), commitment("bobbybob", 101, uid=2)])
        for epoch, score in ((EPOCH, 0.2), (SECOND, 0.36)):
            begin(opened, ("annabel", "bobbybob"), epoch)
            evaluate(opened, evaluation("annabel", 1.5 - score, epoch=epoch.start_block))
            judge(opened, eligible("annabel", 1.5 - score, epoch=epoch.start_block))
            judge(opened, faulty(epoch))
            opened.close_epoch(
                settlement(
                    epoch.start_block,
                    scores={"annabel": score},
                    evaluated=["annabel"],
                    win_rates={"annabel": 1.0},
                    shares={"annabel": 1.0},
                ),
                block=epoch.end_block,
            )
            opened.record_weights(WeightsSet(epoch.start_block, 1, "1-1", {"annabel": 1.0}))
        yield opened


def faulty(epoch: Epoch) -> Verdict:
    if epoch == EPOCH:
        return Verdict(FIRST, "bobbybob", 2, "x", 101, "at_fault", Reason.DUPLICATE, "a copy")
    return Verdict(
        epoch.start_block,
        "bobbybob",
        2,
        "x",
        101,
        "not_evaluated",
        None,
        "hub down",
        fault=FaultKind.HUB_TRANSIENT,
    )


def test_history_epochs_come_latest_first_with_their_numbers(ledger: Ledger) -> None:
    last, first = ledger.views.epochs(5)
    assert (last.start_block, first.start_block) == (SECOND.start_block, FIRST)
    assert (first.places, first.eligible, first.at_fault, first.not_evaluated) == (2, 1, 1, 0)
    assert (last.eligible, last.at_fault, last.not_evaluated) == (1, 0, 1)
    assert first.seconds == 2.5
    assert first.closed_at is not None and first.weights_set_at is not None
    assert [epoch.start_block for epoch in ledger.views.epochs(1)] == [SECOND.start_block]


def test_history_turns_tell_how_a_hotkey_fared(ledger: Ledger) -> None:
    last, first = ledger.views.results_of("annabel", 5)
    assert (first.loss, first.win_rate, first.share, first.score, first.weight) == (1.3, 1.0, 1.0, 0.2, 1.0)
    assert (last.epoch, last.score) == (SECOND.start_block, 0.36)
    hub, copy = ledger.views.results_of("bobbybob", 5)
    assert (copy.standing, copy.reason, copy.detail, copy.weight) == (
        "at_fault",
        Reason.DUPLICATE,
        "a copy",
        None,
    )
    assert (hub.standing, hub.reason) == ("not_evaluated", None)


def test_history_results_and_the_scores_before(ledger: Ledger) -> None:
    assert ledger.views.leaderboard(SECOND.start_block)[0].score == 0.36
    assert ledger.views.scores_before(SECOND.start_block) == {"annabel": 0.2}
    assert ledger.views.scores_before(FIRST) == {}


@pytest.mark.parametrize(
    ("who", "found"),
    [
        ("annabel", ["annabel"]),
        ("anna", ["annabel"]),
        ("ann", []),
        ("anna\u2026el", ["annabel"]),
        ("anna...el", ["annabel"]),
        ("anna\u2026ob", []),
        ("2", ["bobbybob"]),
        ("%%%%", []),
    ],
)
def test_history_hotkeys_are_found_by_what_people_type(ledger: Ledger, who: str, found: list[str]) -> None:
    assert ledger.views.hotkeys(who) == found


def test_look_reads_anybodys_ledger_beside_its_validator(ledger: Ledger, tmp_path: Path) -> None:
    with Ledger.look(tmp_path / "ledger.sqlite") as looked:
        assert looked.identity() == LedgerIdentity(NETUID, COMPETITION, ledger.identity().hotkey, None)
        assert looked.memory().scores == {"annabel": 0.36}


def test_look_without_a_file_is_a_ledger_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger.look(tmp_path / "ledger.sqlite")
