"""Whose fault it is that a dataset was not measured, whether to try again, and whether it was its turn."""

from collections.abc import Collection
from dataclasses import replace

from flockoff.errors import EvaluationStopped, Fault, FaultKind, MinerFault, Reason
from flockoff.records import Commitment, Epoch, Measurement, Verdict, device_kind

NOT_THERE = frozenset({Reason.REPO_MISSING, Reason.COMMIT_MISSING, Reason.FILE_MISSING})
CUT_OFF = "The epoch's time for evaluating ended before this dataset was measured."


def eligible(
    epoch: Epoch, commitment: Commitment, content_hash: str, loss: float, *, block: int, note: str = ""
) -> Verdict:
    """The verdict on a dataset that was measured. ``block``: the first in which the hotkey committed it."""
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

    Only a MinerFault is the miner's. A dataset that is not on the hub may be the hub's fault for a moment, so
    it is believed only at the ``final`` try, and not while the dataset may still appear. ``last``: the
    hotkey's latest verdict before this epoch. ``content_hash``: where it is known.
    """
    if not isinstance(fault, MinerFault):
        detail = CUT_OFF if isinstance(fault, EvaluationStopped) else str(fault)
        return replace(_verdict(epoch, commitment, content_hash, detail), fault=fault.kind)
    verdict = replace(_verdict(epoch, commitment, content_hash, str(fault)), reason=fault.reason)
    if fault.reason in NOT_THERE and not (final and not _may_still_appear(epoch, commitment, last)):
        return verdict
    return replace(verdict, standing="at_fault", copied=fault.copied)


def is_settled(verdict: Verdict) -> bool:
    """Whether a verdict stands for the whole epoch, also after a restart in it."""
    return verdict.standing != "not_evaluated" or verdict.set_aside


def may_try_again(verdict: Verdict) -> bool:
    """Whether its dataset may be tried again in the epoch: unless it is settled, or the epoch's end came."""
    return not is_settled(verdict) and verdict.fault is not FaultKind.STOPPED


def took_its_turn(verdict: Verdict, last: Verdict | None) -> bool:
    """Whether the hotkey waits anew from this epoch on. ``last``: its latest verdict before the epoch.

    Whoever could not be evaluated keeps its place in the queue, but not twice in a row: a few datasets that
    can never be had would otherwise hold the places of those who wait. The epoch's end is no such failure:
    who is cut off keeps its place however often.
    """
    if verdict.standing != "not_evaluated":
        return True
    if verdict.fault is FaultKind.STOPPED:
        return False
    return last is not None and last.standing == "not_evaluated" and last.fault is not FaultKind.STOPPED


def may_compare(measurement: Measurement, kinds: Collection[str], *, mixed: bool) -> bool:
    """Whether a loss may compete with those that were measured on devices of ``kinds``.

    Losses are compared by less than what another kind of device moves them.
    """
    return mixed or not kinds or device_kind(measurement.provenance.device) in kinds


def _may_still_appear(epoch: Epoch, commitment: Commitment, last: Verdict | None) -> bool:
    """Whether a dataset that is not there is still waited for: within an epoch of its commitment, and once.

    Waiting for each new commitment again would let a miner keep its score by committing what never appears.
    Who was blamed for that before has no score left to keep, and is waited for like anybody else.
    """
    if commitment.block < epoch.start_block - epoch.blocks:
        return False
    return last is None or last.standing != "not_evaluated" or last.reason not in NOT_THERE


def _verdict(epoch: Epoch, commitment: Commitment, content_hash: str | None, detail: str) -> Verdict:
    """A verdict that says "not evaluated"."""
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
