"""Commitments are looked at when first seen, whether or not they have a place: through the real loop."""

import math
import sqlite3
import threading
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from flockoff.epoch.entries import enter
from flockoff.errors import HubTransient, Interrupted, Reason
from flockoff.localnet.hub.script import ANY, answer, silence
from flockoff.records import Commitment, ModelId, Verdict
from flockoff.validate import Validator, run_epochs
from flockoff.validate.first_sight import FirstSight
from tests.support.arena import Arena
from tests.support.near_copies import conversations, swapped, with_answers
from tests.support.toy_encoder import CharacterEncoder
from tests.validate.test_near_duplicates import as_json, verdicts_by_miner

VICTIM, OTHER, SPARE = conversations()[:30], conversations()[30:60], conversations()[60:90]


def validator_of(arena: Arena) -> Validator:
    """With one place an epoch."""
    return arena.validator(encoder=CharacterEncoder(context_length=5000), miner_sample_size=1)


def known(arena: Arena) -> dict[str, str | None]:
    """By ModelId, the content that is known of it."""
    with closing(sqlite3.connect(arena.directory / "ledger.sqlite")) as connection:
        return dict(connection.execute("SELECT model_id, content_hash FROM sights").fetchall())


def look_at_all(validator: Validator, sights: FirstSight, arena: Arena) -> None:
    sights.begin(arena.epoch())
    while sights.step():
        validator.stop.wait(0.01)


@pytest.mark.slow
def test_first_sight_gives_a_victim_its_rows_though_nobody_was_evaluated(arena: Arena) -> None:
    """It commits, a thief copies that, it commits again: while the only place is somebody else's."""
    arena.submit(2, "somebody-else", loss=1.2, rows=as_json(SPARE))
    first = arena.submit(0, "original", loss=1.0, rows=as_json(VICTIM))
    arena.next_epoch()
    validator = validator_of(arena)

    def copy_and_update() -> None:
        try:
            while not known(arena).get(str(first)):
                threading.Event().wait(0.05)
            arena.submit(1, "disguised", loss=0.8, rows=as_json(with_answers(VICTIM[::-1], swapped(0.25))))
            arena.submit(0, "update", loss=0.9, rows=as_json([*VICTIM, *OTHER[:5]]))
        finally:
            validator.stop.set()

    others = threading.Thread(target=copy_and_update)
    others.start()
    with pytest.raises(Interrupted):
        run_epochs(validator, None)
    others.join()
    assert [one.evaluation.hotkey for one in validator.ledger.views.evaluations(9)] == [arena.hotkeys[2]]
    validator.ledger.close()
    after_a_restart = validator_of(arena)
    verdicts: dict[int, Verdict] = {}
    while not {0, 1} <= verdicts.keys():
        start = arena.play_epoch(after_a_restart).start_block
        verdicts |= verdicts_by_miner(arena, after_a_restart, start)
    assert verdicts[1].reason is Reason.NEAR_DUPLICATE
    assert arena.hotkeys[0] in verdicts[1].detail
    assert verdicts[0].standing == "eligible" and not verdicts[0].detail


@pytest.mark.slow
def test_first_sight_asks_again_for_what_is_not_there_and_never_for_what_is_not_valid(arena: Arena) -> None:
    hidden = arena.submit(0, "hidden", rows=as_json(VICTIM), publish=False)
    broken = arena.submit(1, "broken", rows="no JSON\n")
    validator = validator_of(arena)
    asked: list[str] = []
    validator = replace(validator, datasets=_Asked(validator, asked))
    start = _begin(validator, arena)
    with FirstSight(validator) as sights:
        look_at_all(validator, sights, arena)
        assert {*asked} == {hidden.namespace, broken.namespace}
        look_at_all(validator, sights, arena)
        assert len(asked) == 2
        assert _begin(validator, arena) > start
        look_at_all(validator, sights, arena)
    assert asked[2:] == [hidden.namespace]
    assert known(arena) == {str(hidden): None, str(broken): None}


@pytest.mark.slow
def test_first_sight_leaves_a_hub_that_fails_alone_for_a_while(arena: Arena) -> None:
    real = [arena.submit(miner, "own", rows=as_json([VICTIM[miner]])) for miner in range(3)]
    validator = validator_of(arena)
    others = [ModelId("others/data", "f127", f"{number:040x}") for number in range(6)]
    validator.ledger.record_commitments(
        Commitment(f"other {number}", number, each, number) for number, each in enumerate(others)
    )
    asked: list[str] = []
    busy = HubTransient("The hub is busy.", retry_after=3600)
    failing = replace(validator, datasets=_Asked(validator, asked, busy))
    _begin(failing, arena)
    with FirstSight(failing) as sights:
        look_at_all(failing, sights, arena)
        assert not sights.step()
    tried = known(arena)
    assert 3 <= len(tried) <= len(asked) < 3 + 4  # three in a row, and what was under way by then
    start = _begin(validator, arena)
    waiting = [str(each.model_id) for each in validator.ledger.unseen(start, 20)]
    assert len(waiting) == 9 and {*waiting[-len(tried) :]} == {*tried}  # what fails holds up nobody
    with FirstSight(validator) as sights:  # a restart
        look_at_all(validator, sights, arena)
    assert all(known(arena)[str(each)] for each in real)


@pytest.mark.slow
def test_first_sight_flood_and_repos_that_fail_hold_up_nobody(arena: Arena) -> None:
    """One hotkey has committed hundreds that are not there, and the hub fails for the repos of another."""
    rotten = [arena.submit(2, f"rotten-{n}", rows=as_json(SPARE[n : n + 2])) for n in range(2)]
    arena.hub.faults.add("GET", "rotten", answer(502), times=math.inf)
    validator = validator_of(arena)
    flood = [ModelId("flood/data", "f127", f"{number:040x}") for number in range(300)]
    uid = arena.uid(1)
    validator.ledger.record_commitments(
        Commitment(arena.hotkeys[1], uid, each, block) for block, each in enumerate(flood)
    )
    honest = arena.submit(0, "honest", rows=as_json(VICTIM))
    asked: list[str] = []
    validator = replace(validator, datasets=_Asked(validator, asked))
    _begin(validator, arena)
    with FirstSight(validator) as sights:
        sights.begin(arena.epoch())
        _look_until_known(sights, validator, arena, honest)
    assert {"flood/data", rotten[-1].namespace, honest.namespace} <= {*asked[:4]}
    assert not any(known(arena).get(str(each)) for each in rotten)


@pytest.mark.slow
def test_first_sight_passes_what_the_hub_stalls_over(arena: Arena) -> None:
    """Three repos of others, committed before, are silent for as long as anybody waits."""
    stalled = [arena.submit(miner, f"stalled-{miner}", rows=as_json(SPARE[:2])) for miner in (1, 2)]
    arena.hub.faults.add(ANY, "stalled", silence(3600), times=math.inf)
    validator = validator_of(arena)
    other = Commitment("another", arena.uid(1), replace(stalled[0], commit="f" * 40), 1)
    validator.ledger.record_commitments([other])
    honest = arena.submit(0, "honest", rows=as_json(VICTIM))
    _begin(validator, arena)
    with FirstSight(validator) as sights:
        sights.begin(arena.epoch())
        _look_until_known(sights, validator, arena, honest)
        assert not any(str(each) in known(arena) for each in (*stalled, other.model_id))
        assert sights.step()  # they are still waited for
        validator.stop.set()


def test_first_sight_passes_sixty_repos_of_sixty_hotkeys_that_the_hub_fails_on(arena: Arena) -> None:
    """All committed before: what the hub fails on is no reason to look at nothing else in the epoch."""
    arena.hub.faults.add(ANY, "rotten", answer(502), times=math.inf)
    validator = replace(validator_of(arena), fault_pause=0.0)
    validator.ledger.record_commitments(
        Commitment(f"hotkey {n}", n, ModelId("rotten/data", "f127", f"{n:040x}"), 1) for n in range(60)
    )
    honest = arena.submit(0, "honest", rows=as_json(VICTIM))
    _begin(validator, arena)
    with FirstSight(validator) as sights:
        look_at_all(validator, sights, arena)
    assert known(arena)[str(honest)] and len(known(arena)) == 61


def _look_until_known(sights: FirstSight, validator: Validator, arena: Arena, model_id: ModelId) -> None:
    while not known(arena).get(str(model_id)):
        assert sights.step()
        validator.stop.wait(0.01)


def _begin(validator: Validator, arena: Arena) -> int:
    """Go into the next epoch, which gives nobody a place."""
    arena.next_epoch()
    epoch, snapshot = arena.epoch(), arena.chain(None).snapshot()
    memory = validator.ledger.memory(epoch.start_block, snapshot)
    seen = enter(snapshot, epoch, memory, "f127").seen
    validator.ledger.begin_epoch(epoch, [], (), seen)
    return epoch.start_block


class _Asked:
    """A validator's datasets, and which repos were asked for."""

    def __init__(self, validator: Validator, asked: list[str], fault: Exception | None = None) -> None:
        self._datasets = validator.datasets
        self._asked = asked
        self._fault = fault

    def begin(self, needed: Collection[tuple[str, str]]) -> None:
        self._datasets.begin(needed)

    def get(self, namespace: str, commit: str, *, max_bytes: int, needed: bool = True) -> Path:
        self._asked.append(namespace)
        assert not needed
        if self._fault is not None:
            raise self._fault
        return self._datasets.get(namespace, commit, max_bytes=max_bytes, needed=needed)
