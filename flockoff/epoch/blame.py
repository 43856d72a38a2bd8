"""Whose fault it is that a dataset was not evaluated, whether to retry, and whether it used up its turn."""

from collections.abc import Collection
from dataclasses import replace

from flockoff.competition import Queue
from flockoff.errors import EvaluationStopped, Fault, FaultKind, MinerFault, Reason
from flockoff.records import Commitment, Epoch, Measurement, Verdict

NOT_THERE = frozenset({Reason.REPO_MISSING, Reason.COMMIT_MISSING, Reason.FILE_MISSING})
CUT_OFF = "The epoch's time for evaluation ended before this dataset was measured."


def eligible(
    epoch: Epoch, commitment: Commitment, content_hash: str, loss: float, *, block: int, note: str = ""
) -> Verdict:
    """The verdict on a measured dataset. ``block``: where the hotkey first committed it."""
    verdict = _verdict(epoch, commitment, content_hash, note)
    return replace(verdict, standing="eligible", block=block, loss=loss)


def blamed(
    epoch: Epoch,
    commitment: Commitment,
    fault: MinerFault | Fault,
    *,
    content_hash: str | None,
    last: Verdict | None,
    final: bool,
) -> Verdict:
    """The verdict on a dataset that could not be measured because of ``fault``.

    Only a MinerFault is the miner's. A dataset missing from the hub may be a glitch of the hub, so that
    counts only at the ``final`` try, and not while the dataset may still appear. ``last``: the hotkey's
    latest verdict before this epoch. ``content_hash``: None if unknown.
    """
    if not isinstance(fault, MinerFault):
        detail = CUT_OFF if isinstance(fault, EvaluationStopped) else str(fault)
        return replace(_verdict(epoch, commitment, content_hash, detail), fault=fault.kind)
    verdict = _verdict(epoch, commitment, content_hash, str(fault))
    if fault.reason in NOT_THERE and not (final and not _may_still_appear(epoch, commitment, last)):
        return replace(verdict, reason=fault.reason)
    return at_fault(verdict, fault)


def at_fault(verdict: Verdict, fault: MinerFault) -> Verdict:
    """``verdict`` as it is once ``fault`` is known to be the miner's."""
    return replace(verdict, standing="at_fault", reason=fault.reason, detail=str(fault), copied=fault.copied)


def is_settled(verdict: Verdict) -> bool:
    """Whether a verdict is final for the epoch, even after a restart."""
    return verdict.standing != "not_evaluated" or verdict.set_aside


def may_try_again(verdict: Verdict) -> bool:
    """Whether the dataset may be retried in this epoch: unless it is settled or was cut off."""
    return not is_settled(verdict) and verdict.fault is not FaultKind.STOPPED


def is_too_slow(had: float, whole: float, rules: Queue) -> bool:
    """Whether a dataset that the epoch's end cut off is too slow, rather than begun too late.

    ``had``: how long it was being evaluated; ``whole``: what a whole epoch has for evaluation, in the same
    unit.
    """
    return had >= rules.too_slow_share * whole


def took_its_turn(verdict: Verdict, last: Verdict | None) -> bool:
    """Whether the hotkey's waiting time restarts with this epoch. ``last``: its latest verdict before the
    epoch.

    A hotkey that could not be evaluated keeps its place in the queue, but not twice in a row: otherwise a few
    datasets that can never be downloaded would block the places of others. One that the epoch's end cut off
    keeps its place however often.
    """
    if verdict.standing != "not_evaluated":
        return True
    if verdict.fault is FaultKind.STOPPED:
        return False
    return last is not None and last.standing == "not_evaluated" and last.fault is not FaultKind.STOPPED


def may_compare(measurement: Measurement, kinds: Collection[str], *, mixed: bool) -> bool:
    """Whether a loss may compete with those measured on devices of ``kinds``.

    Different kinds of device change a loss by more than the differences compared.
    """
    return mixed or not kinds or measurement.provenance.device.kind in kinds


def _may_still_appear(epoch: Epoch, commitment: Commitment, last: Verdict | None) -> bool:
    """Whether to keep waiting for a missing dataset: within an epoch of its commitment, and once.

    Otherwise a miner could keep its score by committing, again and again, datasets that never appear. One
    already blamed for that has no score left to keep, and gets the same wait as anybody else.
    """
    if commitment.block < epoch.start_block - epoch.blocks:
        return False
    return last is None or last.standing != "not_evaluated" or last.reason not in NOT_THERE


def _verdict(epoch: Epoch, commitment: Commitment, content_hash: str | None, detail: str) -> Verdict:
    """A verdict of "not evaluated"."""
    return Verdict(
        epoch=epoch.start_block,
        hotkey=commitment.hotkey,
        uid=commitment.uid,
        model_id=str(commitment.model_id),
        block=commitment.block,
        standing="not_evaluated",
        reason=None,
        detail=detail,
        content_hash=content_hash,
    )
