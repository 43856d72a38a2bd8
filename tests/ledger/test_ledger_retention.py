"""What a ledger deletes of old epochs, on which nothing later depends."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest

from flockoff.errors import FaultKind, Reason
from flockoff.ledger import Ledger
from flockoff.records import Commitment, Epoch, Verdict, WeightsSet
from tests.support.ledger_records import (
    COMPETITION,
    NETUID,
    claim,
    judge,
    model_id,
    settlement,
)

BLOCKS = 360
KEPT = 5


@dataclass
class Life:
    """The same random epochs recorded by ledgers that keep more and fewer of them.

    At first 12 hotkeys; now and then one of them leaves and a new one comes, or commits something new.
    """

    ledgers: tuple[Ledger, ...]
    draw: random.Random
    turnover: float = 0.2  # how probable it is in an epoch that a hotkey gives way to a new one
    played: int = 0
    born: int = 12

    def __post_init__(self) -> None:
        self.committed = {f"hotkey {number}": self._commitment(f"hotkey {number}") for number in range(12)}

    def _commitment(self, hotkey: str) -> Commitment:
        block = BLOCKS * (self.played + 1) - 1 - self.draw.randrange(100)
        return Commitment(hotkey, self.draw.randrange(256), model_id(self.draw.choice("abcdef")), block)

    def change(self) -> None:
        if self.draw.random() < self.turnover:
            del self.committed[self.draw.choice(list(self.committed))]
            self.born += 1
            newcomer = f"hotkey {self.born}"
            self.committed[newcomer] = self._commitment(newcomer)
        for hotkey in list(self.committed):
            if self.draw.random() < 0.3:
                self.committed[hotkey] = self._commitment(hotkey)

    def verdict(self, start: int, commitment: Commitment) -> Verdict:
        content = f"hash of {commitment.hotkey} {commitment.model_id.commit[0]}"
        verdict = Verdict(
            start, commitment.hotkey, commitment.uid, str(commitment.model_id), commitment.block,
            "eligible", None, "", content, 1.5,
        )  # fmt: skip
        other = self.draw.random()
        if other < 0.2:
            return replace(verdict, standing="not_evaluated", loss=None, fault=FaultKind.EVALUATION)
        if other < 0.3:
            return replace(verdict, standing="at_fault", loss=None, reason=Reason.REPO_MISSING)
        return verdict

    def play(self, epochs: int) -> None:
        for _ in range(epochs):
            self.played += 1
            self.change()
            start = BLOCKS * self.played
            plan = self.draw.sample(sorted(self.committed), 4)
            verdicts = [self.verdict(start, self.committed[hotkey]) for hotkey in plan]
            for ledger in self.ledgers:
                self._tell(ledger, start, verdicts)

    def _tell(self, ledger: Ledger, start: int, verdicts: list[Verdict]) -> None:
        ledger.record_commitments(self.committed.values())
        ledger.begin_epoch(
            Epoch(start, start + BLOCKS, start), [self.committed[verdict.hotkey] for verdict in verdicts]
        )
        for verdict in verdicts:
            commitment = self.committed[verdict.hotkey]
            assert verdict.content_hash is not None
            claim(ledger, verdict.content_hash, verdict.hotkey, commitment.block, verdict.uid)
            judge(ledger, verdict)
        scores = {hotkey: start / 1e6 for hotkey in self.committed}
        evaluated = [verdict.hotkey for verdict in verdicts]
        ledger.close_epoch(settlement(start, scores=scores, evaluated=evaluated, shares=scores), block=start)
        if start % (3 * BLOCKS):
            ledger.record_weights(WeightsSet(start, start + 9, "", scores))


@pytest.fixture
def life() -> Iterator[Life]:
    with ExitStack() as stack:
        ledgers = [
            stack.enter_context(
                Ledger.open(":memory:", netuid=NETUID, competition=COMPETITION, keep_epochs=keep)
            )
            for keep in (KEPT, 10_000)
        ]
        yield Life(tuple(ledgers), random.Random(0))


def needed_later(ledger: Ledger, life: Life) -> list[object]:
    """Everything that a validator reads from its ledger in the epochs that follow."""
    now = BLOCKS * life.played + 1
    everyone = [f"hotkey {number}" for number in range(life.born + 1)]
    contents = [f"hash of {hotkey} {letter}" for hotkey in everyone for letter in "abcdef"]
    return [
        ledger.memory().scores,
        ledger.memory().last_evaluated,
        ledger.last_weights(),
        ledger.views.leaderboard(),
        [ledger.owner(content) for content in contents],
        [ledger.memory(now).last_verdicts.get(hotkey) for hotkey in everyone],
        {hotkey: each.model_id for hotkey, each in ledger.memory(now - BLOCKS).earlier.items()},
        [ledger.memory().first_blocks[commitment.hotkey] for commitment in life.committed.values()],
        [ledger.epoch(BLOCKS * number) for number in range(life.played + 1)],
        [ledger.closed_block(BLOCKS * number) for number in range(life.played + 1)],
    ]


def detail(ledger: Ledger, start: int) -> list[object]:
    return [
        ledger.epoch_plan(start),
        ledger.verdicts(start),
        ledger.evaluations(start),
        ledger.weights_of_epoch(start),
        ledger.views.leaderboard(start),
    ]


@pytest.mark.slow
def test_what_is_forgotten_is_never_needed_again(life: Life) -> None:
    forgetful, elephant = life.ledgers
    for _ in range(20):
        life.play(1)
        assert needed_later(forgetful, life) == needed_later(elephant, life)
        for number in range(max(1, life.played - KEPT + 1), life.played + 1):
            assert detail(forgetful, BLOCKS * number) == detail(elephant, BLOCKS * number)


@pytest.mark.slow
def test_old_epochs_keep_no_detail_but_last_verdicts(life: Life) -> None:
    life.play(30)
    forgetful, _ = life.ledgers
    for number in range(1, 30 - KEPT + 1):
        start = BLOCKS * number
        assert forgetful.evaluations(start) == []
        assert forgetful.epoch_plan(start) == []
        assert forgetful.weights_of_epoch(start) is None
        for verdict in forgetful.verdicts(start):
            assert forgetful.memory(BLOCKS * 100).last_verdicts[verdict.hotkey] == verdict


def test_last_weights_are_kept_however_old(life: Life) -> None:
    forgetful, _ = life.ledgers
    life.play(1)
    last = forgetful.last_weights()
    for number in range(2, 20):
        start = BLOCKS * number
        forgetful.begin_epoch(Epoch(start, start + BLOCKS, 1), [])
        forgetful.close_epoch(settlement(start, scores={}), block=start)
    assert last is not None
    assert forgetful.last_weights() == last


@pytest.mark.slow
def test_ledger_stops_growing(life: Life) -> None:
    """But for what is new for ever: nobody comes or goes here, and after a while all contents are known."""
    life.turnover = 0.0

    def pages() -> list[int]:
        return [ledger._database.read("PRAGMA page_count")[0][0] for ledger in life.ledgers]

    life.play(30)
    early = pages()
    life.play(60)
    late = pages()
    assert late[0] <= early[0] + 2
    assert late[1] > early[1] + 30
