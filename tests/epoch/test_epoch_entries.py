"""Which commitments count, and whose is at fault."""

from flockoff.epoch.entries import enter
from flockoff.epoch.memory import Memory
from flockoff.errors import Reason
from flockoff.records import Commitment, Epoch
from tests.support.subnets import model_id, snapshot_of

EPOCH = Epoch(360, 720, seed=7)
GOOD, OTHER = model_id("good"), model_id("other")
FOREIGN = model_id("good", "other")


def test_enter_counts_what_was_committed_before_the_start() -> None:
    shown = snapshot_of(["ann", "bob"], {"ann": (str(GOOD), 359), "bob": (str(OTHER), 360)})
    entries = enter(shown, EPOCH, Memory(), "f127")
    assert entries.counting == (Commitment("ann", 1, GOOD, 359),)
    assert [each.hotkey for each in entries.seen] == ["ann", "bob"]
    assert entries.verdicts == ()


def test_enter_gives_a_commitment_made_again_its_first_block() -> None:
    memory = Memory(first_seen={("ann", str(GOOD)): 100})
    entries = enter(snapshot_of(["ann"], {"ann": (str(GOOD), 300)}), EPOCH, memory, "f127")
    assert entries.counting == (Commitment("ann", 1, GOOD, 100),)
    assert entries.seen == (Commitment("ann", 1, GOOD, 300),)


def test_enter_commitment_made_again_earlier_by_another_fork_has_that_block() -> None:
    memory = Memory(first_seen={("ann", str(GOOD)): 310})
    entries = enter(snapshot_of(["ann"], {"ann": (str(GOOD), 300)}), EPOCH, memory, "f127")
    assert entries.counting == (Commitment("ann", 1, GOOD, 300),)


def test_enter_late_commitment_leaves_the_earlier_one_in_place_whatever_it_is() -> None:
    memory = Memory(scores={"ann": 0.5}, earlier={"ann": Commitment("ann", 9, GOOD, 100)})
    for text in (str(OTHER), str(FOREIGN), "gone fishing"):
        entries = enter(snapshot_of(["ann"], {"ann": (text, 360)}), EPOCH, memory, "f127")
        assert entries.counting == (Commitment("ann", 1, GOOD, 100),)
        assert entries.verdicts == ()


def test_enter_late_malformed_commitment_of_one_never_seen_is_no_fault() -> None:
    entries = enter(snapshot_of(["ann"], {"ann": ("gone fishing", 400)}), EPOCH, Memory(), "f127")
    assert (entries.counting, entries.seen, entries.verdicts) == ((), (), ())


def test_enter_malformed_commitment_is_at_fault() -> None:
    entries = enter(snapshot_of(["ann"], {"ann": ("gone fishing", 1)}), EPOCH, Memory(), "f127")
    [verdict] = entries.verdicts
    assert (verdict.hotkey, verdict.uid, verdict.reason) == ("ann", 1, Reason.COMMITMENT_MALFORMED)
    assert (verdict.model_id, verdict.block, verdict.epoch) == ("gone fishing", 1, 360)


def test_enter_nothing_committed_is_at_fault_only_with_a_score() -> None:
    memory = Memory(scores={"ann": 0.1, "bob": 0.2, "cyd": 0.0})
    shown = snapshot_of(["ann", "bob", "cyd"], {"bob": (str(FOREIGN), 5)})
    entries = enter(shown, EPOCH, memory, "f127")
    assert [(each.hotkey, each.reason) for each in entries.verdicts] == [
        ("ann", Reason.COMMITMENT_MISSING),
        ("bob", Reason.COMMITMENT_MISSING),
    ]
    assert [(each.model_id, each.block) for each in entries.verdicts] == [("", 0), (str(FOREIGN), 5)]
    assert entries.counting == ()
