"""Settling an epoch: its verdicts become win rates, shares and scores."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flockoff.competition import Competition, Overlap
from flockoff.dataset import (
    Borrowed,
    Claim,
    Owners,
    duplicate_fault,
    near_duplicate_fault,
    same_loss_copies,
    same_loss_fault,
    stands_against,
)
from flockoff.epoch.blame import at_fault, took_its_turn
from flockoff.epoch.contest import contest
from flockoff.epoch.memory import Memory
from flockoff.errors import FaultKind
from flockoff.records import Verdict
from flockoff.scoring import count_missed, update_scores

_WITNESS_WIN_RATE = 0.5


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about the contents judged, once all datasets of an epoch were seen."""

    # All by content hash. Who committed it first:
    claims: Mapping[str, Claim] = field(default_factory=dict)
    # What others now own of it, where contents first seen in this epoch bear on it:
    borrowed: Mapping[str, Borrowed] = field(default_factory=dict)
    # The part of it that others owned when last examined:
    borrowed_shares: Mapping[str, float] = field(default_factory=dict)
    # The base model's loss without any adapter, nats per assistant token; None while unknown:
    base_loss: float | None = None
    # By hotkey, those who hold claims; a missing one counts as registered and winning.
    owners: Owners = field(default_factory=dict)

    def borrowed_share(self, content_hash: str) -> float | None:
        """Of the content's assistant tokens, 0 to 1; None where it was never examined."""
        found = self.borrowed.get(content_hash)
        return self.borrowed_shares.get(content_hash) if found is None else found.share


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of an epoch. ``verdicts``: all of them; ``copies``: those that only the whole epoch
    reveals.

    By hotkey: ``win_rates`` and ``shares`` of the eligible, ``scores`` of all, ``missed`` as in ``Memory``.
    ``turns``: hotkeys whose waiting time restarts with this epoch. ``witnesses``: by content hash, the
    coldkey for which it now counts as a witness of what is common property.
    """

    epoch: int
    verdicts: tuple[Verdict, ...]
    copies: tuple[Verdict, ...]
    win_rates: Mapping[str, float]
    shares: Mapping[str, float]
    scores: Mapping[str, float]
    missed: Mapping[str, int]
    turns: tuple[str, ...]
    witnesses: Mapping[str, str]


def remember(memory: Memory, settlement: Settlement) -> Memory:
    """``memory`` after the settled epoch, except for commitments and weights."""
    turns = dict.fromkeys(settlement.turns, settlement.epoch)
    verdicts = {verdict.hotkey: verdict for verdict in settlement.verdicts}
    return replace(
        memory,
        scores=settlement.scores,
        missed=settlement.missed,
        last_evaluated={**memory.last_evaluated, **turns},
        last_verdicts={**memory.last_verdicts, **verdicts},
    )


def settle(
    epoch: int,
    verdicts: Sequence[Verdict],
    memory: Memory,
    coldkeys: Mapping[str, str],
    competition: Competition,
    evidence: Evidence,
) -> Settlement:
    """Settle the epoch that began at block ``epoch``, given all its ``verdicts``.

    ``coldkeys``: by hotkey, of everybody registered now.
    """
    rules = competition.scoring
    found = _without_copies([_reexamined(v, competition, evidence) for v in verdicts], evidence, competition)
    outcome = contest(found, rules)
    rates, shares = outcome.rates_by_hotkey, outcome.shares_by_hotkey
    missed = _missed(found, memory)
    return Settlement(
        epoch=epoch,
        verdicts=tuple(found),
        copies=tuple(verdict for verdict, was in zip(found, verdicts, strict=True) if verdict != was),
        win_rates=rates,
        shares=shares,
        scores=update_scores(
            memory.scores,
            shares,
            [verdict.hotkey for verdict in found if verdict.standing == "at_fault"],
            coldkeys,
            rules.score_decay,
            missed=missed,
            thaw_after=rules.thaw_after,
        ),
        missed=missed,
        turns=tuple(
            verdict.hotkey
            for verdict in found
            if took_its_turn(verdict, memory.last_verdicts.get(verdict.hotkey))
        ),
        witnesses=_witnesses(outcome.verdicts, rates, coldkeys, competition, evidence),
    )


def _missed(verdicts: Sequence[Verdict], memory: Memory) -> dict[str, int]:
    """Consecutive missed turns: a worker failed on the dataset but could evaluate something else.

    One that was too slow may have left no time for anything else: then the epoch before tells.
    """
    works = any(verdict.standing == "eligible" for verdict in verdicts)
    return count_missed(
        memory.missed,
        [
            verdict.hotkey
            for verdict in verdicts
            if verdict.set_aside and (works or (memory.measured and verdict.fault is FaultKind.TOO_SLOW))
        ],
        [verdict.hotkey for verdict in verdicts if verdict.standing != "not_evaluated"],
    )


def _reexamined(verdict: Verdict, competition: Competition, evidence: Evidence) -> Verdict:
    """The verdict, at fault if contents first seen in its epoch show that it is a near-duplicate.

    A few borrowed rows that only they reveal were trained on already; next time they are left out. The loss
    of a dataset that is mostly others' says nothing, whether they have won yet or not.
    """
    found = evidence.borrowed.get(verdict.content_hash or "") if verdict.standing == "eligible" else None
    if found is None:
        return verdict
    fault = near_duplicate_fault(found, competition.overlap, rows_left=1)
    return verdict if fault is None else at_fault(verdict, fault)


def _without_copies(
    verdicts: Sequence[Verdict], evidence: Evidence, competition: Competition
) -> list[Verdict]:
    """The verdicts, with those at fault whose content or loss turned out to be another's."""
    owned = [_unless_owned(verdict, evidence, competition.overlap) for verdict in verdicts]
    losses: dict[str, float] = {}
    claims: dict[str, Claim] = {}
    for verdict in owned:
        if verdict.standing == "eligible" and verdict.loss is not None and verdict.content_hash is not None:
            losses[verdict.hotkey] = verdict.loss
            claims[verdict.hotkey] = Claim(verdict.content_hash, verdict.hotkey, verdict.block, verdict.uid)
    tolerance = competition.scoring.same_loss_tolerance
    lapsed = {
        hotkey
        for hotkey in claims
        if (known := evidence.owners.get(hotkey)) is not None and not known.has_standing(competition.overlap)
    }
    copies = same_loss_copies(losses, claims, tolerance, evidence.base_loss, lapsed)
    return [
        at_fault(verdict, same_loss_fault(copies[verdict.hotkey])) if verdict.hotkey in copies else verdict
        for verdict in owned
    ]


def _unless_owned(verdict: Verdict, evidence: Evidence, rules: Overlap) -> Verdict:
    owner = evidence.claims.get(verdict.content_hash or "") if verdict.standing == "eligible" else None
    if owner is None:
        return verdict
    claim = Claim(owner.content_hash, verdict.hotkey, verdict.block, verdict.uid)
    if not stands_against(owner, claim, rules, evidence.owners):
        return verdict
    return at_fault(verdict, duplicate_fault(owner))


def _witnesses(
    competitors: Iterable[Verdict],
    win_rates: Mapping[str, float],
    coldkeys: Mapping[str, str],
    competition: Competition,
    evidence: Evidence,
) -> dict[str, str]:
    """The coldkeys of those contents of the better half that are mostly their hotkey's own."""
    found: dict[str, str] = {}
    for verdict in competitors:
        if verdict.content_hash is None or verdict.hotkey not in coldkeys:
            continue
        share = evidence.borrowed_share(verdict.content_hash)
        is_own = share is not None and share <= competition.overlap.witness_share
        if is_own and win_rates[verdict.hotkey] >= _WITNESS_WIN_RATE:
            found[verdict.content_hash] = coldkeys[verdict.hotkey]
    return found
