"""Whose fault it is, whether to retry, and whose turn it was."""

from dataclasses import replace

import pytest

from flockoff.competition import Queue
from flockoff.epoch.blame import (
    CUT_OFF,
    blamed,
    eligible,
    is_settled,
    is_too_slow,
    may_compare,
    may_try_again,
    took_its_turn,
)
from flockoff.errors import (
    EvaluationFault,
    EvaluationStopped,
    EvaluationTooSlow,
    Fault,
    FaultKind,
    HubTransient,
    MinerFault,
    Reason,
    SetupError,
)
from flockoff.records import Commitment, Epoch, Verdict
from tests.support.ledger_records import measurement
from tests.support.subnets import model_id

EPOCH = Epoch(3600, 3960, seed=11)
FRESH = Commitment("ann", 3, model_id("a"), 3500)
OLD = replace(FRESH, block=3000)
GONE = MinerFault(Reason.REPO_MISSING, "There is no such repo.")


def judged(
    fault: MinerFault | Fault, *, by: Commitment = OLD, final: bool, last: Verdict | None = None
) -> Verdict:
    return blamed(EPOCH, by, fault, content_hash=None, last=last, final=final)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (HubTransient("503"), FaultKind.HUB_TRANSIENT),
        (EvaluationFault("The worker died."), FaultKind.EVALUATION),
        (EvaluationTooSlow("It took too long."), FaultKind.TOO_SLOW),
        (SetupError("The disk is full."), FaultKind.SETUP),
    ],
)
def test_blamed_what_is_not_the_miners_is_not_evaluated_with_its_kind(fault: Fault, kind: FaultKind) -> None:
    verdict = judged(fault, final=True)
    assert (verdict.standing, verdict.reason, verdict.fault) == ("not_evaluated", None, kind)
    assert verdict.detail == str(fault)


def test_blamed_a_miners_fault_is_the_miners_at_once() -> None:
    fault = MinerFault(Reason.DUPLICATE, "A copy.", copied=("bob",))
    verdict = judged(fault, final=False)
    assert (verdict.standing, verdict.reason, verdict.copied) == ("at_fault", Reason.DUPLICATE, ("bob",))


def test_blamed_a_missing_dataset_is_believed_at_the_last_try_and_not_while_it_may_appear() -> None:
    assert judged(GONE, final=False).standing == "not_evaluated"
    assert judged(GONE, final=True).standing == "at_fault"
    waited = judged(GONE, by=FRESH, final=True)
    assert (waited.standing, waited.reason) == ("not_evaluated", Reason.REPO_MISSING)
    assert judged(GONE, by=FRESH, final=True, last=waited).standing == "at_fault"  # once only
    already = replace(waited, standing="at_fault")  # and has no score left that waiting could save
    assert judged(GONE, by=FRESH, final=True, last=already).standing == "not_evaluated"
    just = replace(FRESH, block=EPOCH.start_block - EPOCH.blocks)
    assert judged(GONE, by=just, final=True).standing == "not_evaluated"
    assert judged(GONE, by=replace(just, block=just.block - 1), final=True).standing == "at_fault"
    elsewhere = replace(waited, reason=None, fault=FaultKind.HUB_TRANSIENT)
    assert judged(GONE, by=FRESH, final=True, last=elsewhere).standing == "not_evaluated"


def test_settled_is_what_stands_and_the_epochs_end_is_not_tried_again() -> None:
    measured = eligible(EPOCH, OLD, "hash", 1.5, block=2000)
    assert (measured.loss, measured.block) == (1.5, 2000)
    table = {
        measured: (True, False),
        judged(EvaluationFault("died"), final=False): (True, False),
        judged(HubTransient("503"), final=False): (False, True),
        judged(EvaluationStopped(""), final=False): (False, False),
    }
    assert {verdict: (is_settled(verdict), may_try_again(verdict)) for verdict in table} == table
    assert judged(EvaluationStopped(""), final=False).detail == CUT_OFF


def test_took_its_turn_a_failure_keeps_the_place_once_and_the_epochs_end_always() -> None:
    hub, cut = judged(HubTransient("503"), final=True), judged(EvaluationStopped(""), final=True)
    measured = eligible(EPOCH, OLD, "hash", 1.5, block=2000)
    assert took_its_turn(measured, None)
    assert took_its_turn(judged(GONE, final=True), None)
    assert not took_its_turn(hub, None)
    assert not took_its_turn(hub, measured)
    assert took_its_turn(hub, hub)
    assert not took_its_turn(hub, cut)
    assert not any(took_its_turn(cut, last) for last in (None, measured, hub, cut))


def test_cut_off_is_too_slow_from_the_rules_share_of_an_epochs_time_on() -> None:
    rules = Queue(too_slow_share=0.25)
    assert is_too_slow(0.25, 1.0, rules) and is_too_slow(1000, 1000, rules)
    assert not is_too_slow(249, 1000, rules)


def test_may_compare_losses_of_one_kind_of_device_unless_mixing_is_allowed() -> None:
    on_cpu = measurement(device="cpu x86_64", threads=8)
    assert may_compare(on_cpu, set(), mixed=False)
    assert may_compare(on_cpu, {"cpu x86_64"}, mixed=False)
    assert not may_compare(on_cpu, {"cuda NVIDIA A100"}, mixed=False)
    assert may_compare(on_cpu, {"cuda NVIDIA A100"}, mixed=True)
