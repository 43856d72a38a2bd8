"""An epoch's verdicts become win rates, shares and scores."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flockoff.competition import Competition, Overlap
from flockoff.dataset import (
    Borrowed,
    Claim,
    Sketch,
    duplicate_fault,
    near_duplicate_fault,
    same_loss_copies,
    same_loss_fault,
)
from flockoff.errors import MinerFault
from flockoff.ledger import Ledger
from flockoff.records import SubnetSnapshot, Verdict
from flockoff.scoring import shares, update_scores, win_matrix, win_rates


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an epoch comes to, by hotkey: ``win_rates`` and ``shares`` of the eligible, ``scores`` of all.

    ``verdicts`` are all of the epoch's; ``copies`` those among them that the settlement found. ``witnesses``:
    the contents that bear witness from now on to what is common property, and the coldkey of each.
    ``looked_at``: by content hash, what of contents that were looked at again belongs to others.
    """

    verdicts: tuple[Verdict, ...]
    copies: tuple[Verdict, ...]
    win_rates: Mapping[str, float]
    shares: Mapping[str, float]
    scores: Mapping[str, float]
    witnesses: Mapping[str, str]
    looked_at: Mapping[str, Borrowed]


def settle(
    verdicts: Sequence[Verdict],
    ledger: Ledger,
    snapshot: SubnetSnapshot,
    competition: Competition,
    public: Sketch | None = None,
) -> Settlement:
    """Score the verdicts of a whole epoch, after finding the copies that only the whole epoch shows.

    ``public``: the competition's public sample.
    """
    rules = competition.scoring
    before = verdicts
    looked_at = _looked_at_again(verdicts, ledger, competition.overlap, public)
    verdicts = [_at_fault_if_borrowed(verdict, looked_at, competition.overlap) for verdict in before]
    verdicts = _without_copies(verdicts, ledger, rules.same_loss_tolerance)
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
    witnesses = _witnesses(eligible.values(), rates, ledger, looked_at, snapshot, competition.overlap)
    return Settlement(tuple(verdicts), copies, rates, share, scores, witnesses, looked_at)


def _looked_at_again(
    verdicts: Iterable[Verdict], ledger: Ledger, rules: Overlap, public: Sketch | None
) -> dict[str, Borrowed]:
    """By content hash, what of the eligible belongs to others, where contents first seen since tell more."""
    found: dict[str, Borrowed] = {}
    for verdict in verdicts:
        if verdict.standing != "eligible" or verdict.content_hash is None:
            continue
        again = ledger.sketches.look_again(verdict.content_hash, verdict.epoch, rules, public)
        if again is not None:
            found[verdict.content_hash] = again
    return found


def _at_fault_if_borrowed(verdict: Verdict, looked_at: Mapping[str, Borrowed], rules: Overlap) -> Verdict:
    """The verdict, at fault if a second look shows that it is a near-duplicate.

    A few borrowed rows that only they show were trained on by now; the next time they are left out.
    """
    found = looked_at.get(verdict.content_hash or "") if verdict.standing == "eligible" else None
    fault = near_duplicate_fault(found, rules, rows_left=1) if found is not None else None
    return verdict if fault is None else _at_fault(verdict, fault)


def _witnesses(
    eligible: Iterable[Verdict],
    win_rates: Mapping[str, float],
    ledger: Ledger,
    looked_at: Mapping[str, Borrowed],
    snapshot: SubnetSnapshot,
    rules: Overlap,
) -> dict[str, str]:
    """Of the better half, the contents that are their hotkey's own for the most part, with its coldkey."""
    coldkeys = {neuron.hotkey: neuron.coldkey for neuron in snapshot.neurons}
    found: dict[str, str] = {}
    for verdict in eligible:
        if verdict.content_hash is None or verdict.hotkey not in coldkeys or win_rates[verdict.hotkey] < 0.5:
            continue
        again = looked_at.get(verdict.content_hash)
        share = again.share if again else ledger.sketches.borrowed_share(verdict.content_hash)
        if share is not None and share <= rules.witness_share:
            found[verdict.content_hash] = coldkeys[verdict.hotkey]
    return found


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
