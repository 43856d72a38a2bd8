"""An epoch's verdicts become win rates, shares and scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flockoff.competition import Scoring
from flockoff.dataset import Claim, duplicate_fault, same_loss_copies, same_loss_fault
from flockoff.errors import MinerFault
from flockoff.ledger import Ledger
from flockoff.records import SubnetSnapshot, Verdict
from flockoff.scoring import shares, update_scores, win_matrix, win_rates


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an epoch comes to, by hotkey: ``win_rates`` and ``shares`` of the eligible, ``scores`` of all.

    ``verdicts`` are all of the epoch's; ``copies`` those among them that the settlement found.
    """

    verdicts: tuple[Verdict, ...]
    copies: tuple[Verdict, ...]
    win_rates: Mapping[str, float]
    shares: Mapping[str, float]
    scores: Mapping[str, float]


def settle(
    verdicts: Sequence[Verdict], ledger: Ledger, snapshot: SubnetSnapshot, rules: Scoring
) -> Settlement:
    """Score the verdicts of a whole epoch, after finding the copies that only the whole epoch shows."""
    before = verdicts
    verdicts = _without_copies(before, ledger, rules.same_loss_tolerance)
    copies = tuple(verdict for verdict, was in zip(verdicts, before, strict=True) if verdict != was)
    rates: dict[str, float] = {}
    share: dict[str, float] = {}
    eligible = {verdict.hotkey: verdict for verdict in verdicts if verdict.standing == "eligible"}
    if eligible:
        losses = np.array([verdict.loss for verdict in eligible.values()], dtype=np.float64)
        blocks = np.array([verdict.block for verdict in eligible.values()], dtype=np.int64)
        rate = win_rates(win_matrix(losses, blocks, rules.timestamp_epsilon))
        rates = dict(zip(eligible, rate.tolist(), strict=True))
        share = dict(zip(eligible, shares(rate, rules.temperature).tolist(), strict=True))
    scores = update_scores(
        ledger.scores(),
        share,
        [verdict.hotkey for verdict in verdicts if verdict.standing == "at_fault"],
        [neuron.hotkey for neuron in snapshot.neurons],
        rules.score_decay,
    )
    return Settlement(tuple(verdicts), copies, rates, share, scores)


def _without_copies(verdicts: Sequence[Verdict], ledger: Ledger, tolerance: float) -> list[Verdict]:
    """The verdicts, with those at fault whose content turned out to be another's or leaves another's loss."""
    owned = [
        _at_fault(verdict, duplicate_fault(owner))
        if (owner := _other_owner(verdict, ledger)) is not None
        else verdict
        for verdict in verdicts
    ]
    measured = {
        verdict.hotkey: (
            verdict.loss,
            Claim(verdict.content_hash, verdict.hotkey, verdict.block, verdict.uid),
        )
        for verdict in owned
        if verdict.standing == "eligible" and verdict.loss is not None and verdict.content_hash is not None
    }
    copies = same_loss_copies(
        {hotkey: loss for hotkey, (loss, _) in measured.items()},
        {hotkey: claim for hotkey, (_, claim) in measured.items()},
        tolerance,
    )
    return [
        _at_fault(verdict, same_loss_fault(copies[verdict.hotkey])) if verdict.hotkey in copies else verdict
        for verdict in owned
    ]


def _other_owner(verdict: Verdict, ledger: Ledger) -> Claim | None:
    if verdict.standing != "eligible" or verdict.content_hash is None:
        return None
    owner = ledger.owner(verdict.content_hash)
    return owner if owner is not None and owner.hotkey != verdict.hotkey else None


def _at_fault(verdict: Verdict, fault: MinerFault) -> Verdict:
    return replace(verdict, standing="at_fault", reason=fault.reason, detail=str(fault))
