"""Set, repeat, burn or hold."""

from dataclasses import replace

import pytest

from flockoff.competition import Scoring
from flockoff.epoch.weights import Action, decide_weights
from flockoff.errors import FaultKind, Reason
from flockoff.records import Verdict, WeightsSet
from tests.support.subnets import OWNER, snapshot_of

RULES = Scoring()
ME = "validator"
ELIGIBLE = Verdict(360, "ann", 1, "", 1, "eligible", None, "", "hash", 1.5)
OURS = replace(ELIGIBLE, standing="not_evaluated", loss=None, fault=FaultKind.SETUP)
ABSENT = replace(OURS, fault=None, reason=Reason.REPO_MISSING)
LAST = WeightsSet(0, 300, "300-1", {"ann": 0.5, "bob": 0.3, "gone": 0.2})
SUBNET = snapshot_of(["ann", "bob", ME])


def test_weights_follow_from_the_scores_and_say_which_consensus_went_in() -> None:
    subnet = snapshot_of(["ann", "bob", ME], consensus={"bob": 0.5})
    decision = decide_weights([ELIGIBLE], {"ann": 1.0}, LAST, subnet, ME, RULES)
    assert decision.action is Action.SET
    # 0.8 and 0.2 would lose 0.8 of vtrust: they move towards the consensus until they lose 0.5.
    assert decision.weights == pytest.approx({"ann": 0.5, "bob": 0.5})
    assert decision.consensus == {"bob": 0.5}


def test_weights_with_nothing_evaluated_are_the_last_ones_of_those_who_are_there() -> None:
    decision = decide_weights([OURS], {"ann": 1.0}, LAST, SUBNET, ME, RULES)
    assert decision.action is Action.REPEAT
    assert decision.weights == pytest.approx({"ann": 0.625, "bob": 0.375})
    assert decision.consensus is None


def test_weights_with_nothing_evaluated_through_our_own_fault_and_none_before_are_held() -> None:
    decision = decide_weights([OURS], {}, None, SUBNET, ME, RULES)
    assert (decision.action, decision.weights) == (Action.HOLD, {})
    assert "could not be evaluated" in decision.reason


def test_weights_follow_from_the_scores_as_soon_as_one_dataset_was_evaluated() -> None:
    bob = replace(OURS, hotkey="bob", uid=2)
    decision = decide_weights([ELIGIBLE, bob], {"ann": 1.0}, LAST, SUBNET, ME, RULES)
    assert (decision.action, decision.weights) == (Action.SET, {"ann": 1.0})


def test_weights_held_say_how_many_datasets_this_validator_owes_a_verdict() -> None:
    decision = decide_weights([OURS, ABSENT], {}, None, SUBNET, ME, RULES, unjudged=2)
    assert decision.reason.startswith("3 datasets could not be evaluated")


def test_weights_are_not_burned_while_a_first_dataset_waits_for_this_validator() -> None:
    malformed = replace(ELIGIBLE, standing="at_fault", loss=None, reason=Reason.COMMITMENT_MALFORMED)
    for verdicts in ([], [malformed]):
        held = decide_weights(verdicts, {"ann": 0.0}, None, SUBNET, ME, RULES, unjudged=1)
        assert (held.action, held.reason[:9]) == (Action.HOLD, "1 dataset")
    burned = WeightsSet(0, 300, "300-1", {OWNER: 1.0})  # the first ones: no more guessing then
    assert decide_weights([malformed], {}, burned, SUBNET, ME, RULES, unjudged=1).action is Action.BURN


@pytest.mark.parametrize("verdicts", [[], [ABSENT]])
def test_weights_without_a_score_are_burned_with_the_owner(verdicts: list[Verdict]) -> None:
    decision = decide_weights(verdicts, {}, None, SUBNET, ME, RULES)
    assert (decision.action, decision.weights) == (Action.BURN, {OWNER: 1.0})


def test_weights_are_never_burned_on_a_stranger() -> None:
    strangers = snapshot_of(["ann", "bob", ME], owner=False)
    held = decide_weights([], {}, None, strangers, ME, RULES)
    assert (held.action, held.weights) == (Action.HOLD, {})
    assert "no hotkey of the subnet's owner" in held.reason
    at_fault = replace(ELIGIBLE, standing="at_fault", loss=None)
    repeated = decide_weights([at_fault], {"ann": 0.0}, LAST, strangers, ME, RULES)
    assert repeated.action is Action.REPEAT
    assert repeated.weights == pytest.approx({"ann": 0.625, "bob": 0.375})


def test_weights_without_a_permit_are_held() -> None:
    subnet = snapshot_of(["ann", "bob", ME], without_permit=[ME])
    decision = decide_weights([ELIGIBLE], {"ann": 1.0}, LAST, subnet, ME, RULES)
    assert (decision.action, decision.weights) == (Action.HOLD, {})
    assert "permit" in decision.reason
    # Of a hotkey that is not even registered the chain says so, with a remedy.
    assert decide_weights([ELIGIBLE], {"ann": 1.0}, LAST, SUBNET, "gone", RULES).action is Action.SET


@pytest.mark.parametrize(
    ("least", "padding"),
    [(1, ()), (2, (ME,)), (3, (ME, OWNER)), (4, (ME, OWNER, "bob"))],
)
def test_weights_are_as_many_as_the_chain_asks_for_and_pay_the_same(least: int, padding: tuple[str]) -> None:
    subnet = snapshot_of(["ann", "bob", ME], min_allowed_weights=least)
    decision = decide_weights([ELIGIBLE], {"ann": 1.0}, None, subnet, ME, RULES)
    assert (decision.action, decision.padding) == (Action.SET, padding)
    assert decision.weights["ann"] == pytest.approx(1.0, abs=len(padding) / 65535)
    stored = {
        hotkey: round(weight / decision.weights["ann"] * 65535) for hotkey, weight in decision.weights.items()
    }
    assert stored == {"ann": 65535} | dict.fromkeys(padding, 1)
    assert sum(decision.weights.values()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("scores", [{"ann": 1.0}, {}])
def test_weights_are_held_where_the_chain_asks_for_more_than_there_are_hotkeys(
    scores: dict[str, float],
) -> None:
    subnet = snapshot_of(["ann", "bob", ME], min_allowed_weights=5)
    decision = decide_weights([ELIGIBLE], scores, None, subnet, ME, RULES)
    assert (decision.action, decision.weights) == (Action.HOLD, {})
    assert "MinAllowedWeights" in decision.reason


def test_weights_too_small_for_the_chain_do_not_count_as_weights() -> None:
    subnet = snapshot_of(["ann", "bob", ME], min_allowed_weights=2)
    scores = {"ann": 1.0, "bob": 5e-6}  # above the rules' least weight, below half a step of the chain's
    decision = decide_weights([ELIGIBLE], scores, None, subnet, ME, RULES)
    assert decision.padding == (ME,)
    assert decision.weights.keys() == {"ann", ME}
    one_step = decide_weights([ELIGIBLE], {"ann": 1.0, "bob": 1.5e-5}, None, subnet, ME, RULES)
    assert one_step.padding == () and one_step.weights.keys() == {"ann", "bob"}


def test_weights_are_padded_with_the_owner_before_others_whatever_its_uid_is() -> None:
    subnet = replace(snapshot_of(["ann", "bob", ME], min_allowed_weights=3), owner_hotkey="bob")
    assert decide_weights([ELIGIBLE], {"ann": 1.0}, None, subnet, ME, RULES).padding == (ME, "bob")
    without = snapshot_of(["ann", "bob", "cyd", ME], owner=False, min_allowed_weights=3)
    assert decide_weights([ELIGIBLE], {"ann": 1.0}, None, without, ME, RULES).padding == (ME, "bob")


def test_weights_of_a_burn_are_padded_too() -> None:
    subnet = snapshot_of(["ann", "bob", ME], min_allowed_weights=2)
    decision = decide_weights([], {}, None, subnet, ME, RULES)
    assert (decision.action, decision.padding) == (Action.BURN, (ME,))
    assert decision.weights[OWNER] > 0.9999
