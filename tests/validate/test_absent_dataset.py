"""A dataset missing from the hub: waited for in the epoch after its commitment, then the miner's fault."""

import pytest

from flockoff.errors import Reason
from flockoff.hub import HubClient
from flockoff.localnet.hub import altered
from flockoff.records import Epoch, Verdict
from flockoff.validate import Validator
from tests.support.arena import Arena


@pytest.fixture(autouse=True)
def whole_epochs(arena: Arena) -> None:
    """How long a dataset is waited for is counted in blocks."""
    arena.whole_epochs = True


WAITED_FOR = ("not_evaluated", Reason.REPO_MISSING)
BLAMED = ("at_fault", Reason.REPO_MISSING)
ELIGIBLE = ("eligible", None)


def publish(arena: Arena, miner: int, topic: str) -> None:
    name = arena.subnet.miners[miner].name
    HubClient(arena.hub.add_user(name), arena.hub.endpoint).publish(f"{name}/{topic}")


def standing(validator: Validator, epoch: Epoch, hotkey: str) -> tuple[str, Reason | None]:
    [verdict] = [each for each in _verdicts(validator, epoch) if each.hotkey == hotkey]
    return verdict.standing, verdict.reason


def _verdicts(validator: Validator, epoch: Epoch) -> list[Verdict]:
    return validator.ledger.verdicts(epoch.start_block)


@pytest.mark.slow
def test_absent_dataset_published_before_the_next_try_is_evaluated_in_the_same_epoch(arena: Arena) -> None:
    arena.submit(0, "late", loss=1.0, publish=False)

    def published(body: bytes) -> bytes:
        publish(arena, 0, "late")
        return body

    arena.hub.faults.add("GET", "/api/datasets/", altered(published))  # the answer is "not found" still
    validator = arena.validator()
    assert standing(validator, arena.play_epoch(validator), arena.hotkey(0)) == ELIGIBLE


@pytest.mark.slow
def test_absent_dataset_published_in_its_first_epoch_is_evaluated_in_the_next(arena: Arena) -> None:
    arena.submit(0, "late", loss=1.0, publish=False)
    validator = arena.validator()
    assert standing(validator, arena.play_epoch(validator), arena.hotkey(0)) == WAITED_FOR
    publish(arena, 0, "late")
    assert standing(validator, arena.play_epoch(validator), arena.hotkey(0)) == ELIGIBLE


@pytest.mark.slow
def test_absent_dataset_keeps_the_score_while_waited_for_and_then_loses_it(arena: Arena) -> None:
    arena.submit(0, "shown", loss=1.0)
    validator, hotkey = arena.validator(), arena.hotkey(0)
    arena.play_epoch(validator)
    score = validator.ledger.memory().scores[hotkey]
    arena.submit(0, "hidden", loss=0.9, publish=False)
    assert standing(validator, arena.play_epoch(validator), hotkey) == WAITED_FOR
    assert validator.ledger.memory().scores[hotkey] == score > 0
    assert standing(validator, arena.play_epoch(validator), hotkey) == BLAMED
    assert validator.ledger.memory().scores[hotkey] == 0


@pytest.mark.slow
def test_absent_dataset_that_had_an_epoch_before_its_turn_came_is_not_waited_for(arena: Arena) -> None:
    arena.submit(0, "hidden", loss=1.0, publish=False)
    arena.next_epoch()
    validator = arena.validator()
    assert standing(validator, arena.play_epoch(validator), arena.hotkey(0)) == BLAMED


@pytest.mark.slow
def test_absent_dataset_that_was_hidden_later_is_blamed_by_who_has_no_copy_of_it(arena: Arena) -> None:
    arena.submit(0, "shown", loss=1.0)
    early, hotkey = arena.validator("early"), arena.hotkey(0)
    assert standing(early, arena.play_epoch(early), hotkey) == ELIGIBLE
    arena.hub.switches.make_private(repo=f"{arena.subnet.miners[0].name}/shown")
    assert standing(early, arena.play_epoch(early), hotkey) == ELIGIBLE
    newcomer = arena.validator("newcomer")
    assert standing(newcomer, arena.play_epoch(newcomer), hotkey) == BLAMED


@pytest.mark.slow
def test_absent_dataset_of_one_blamed_before_is_waited_for_again_when_committed_anew(arena: Arena) -> None:
    arena.submit(0, "hidden", loss=1.0, publish=False)
    validator, hotkey = arena.validator(), arena.hotkey(0)
    assert standing(validator, arena.play_epoch(validator), hotkey) == WAITED_FOR
    assert standing(validator, arena.play_epoch(validator), hotkey) == BLAMED
    arena.submit(0, "repaired", loss=1.0, publish=False)
    assert standing(validator, arena.play_epoch(validator), hotkey) == WAITED_FOR
    publish(arena, 0, "repaired")
    assert standing(validator, arena.play_epoch(validator), hotkey) == ELIGIBLE
