"""Who is evaluated in an epoch: the best, those who have waited longest for their cost, and some by rank."""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

from flockoff.competition import Queue

CREDIT = 2  # rounds of the whole queue that a newcomer counts as having waited


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hotkey whose commitment counts in this epoch.

    Only ``tokens`` changes when a hotkey commits anew, so that moves it by its cost alone.
    """

    hotkey: str
    score: float
    first_block: int  # of the hotkey's first commitment ever seen
    last_evaluated: int | None  # start block of the epoch of its last evaluation; None: never evaluated
    tokens: int | None = None  # of the dataset that is to be evaluated; None: not known yet


@dataclass(frozen=True, slots=True)
class Places:
    """The hotkeys with a place in an epoch, by what gave it to them; nobody twice."""

    best: tuple[str, ...]
    waiting: tuple[str, ...]
    drawn: tuple[str, ...]


def plan_epoch(candidates: Iterable[Candidate], rules: Queue, seed: int) -> list[str]:
    """The hotkeys to evaluate (see ``assign_places``), in the order of their evaluation.

    A validator may not come to the end of it. So of each three places two are a waiting hotkey's until those
    are through, and the third alternates between the best and the drawn. Any first m places hold
    min(all waiting, ⌊2m/3⌋) of the waiting.
    """
    places = assign_places(candidates, rules, seed)
    spread = sorted(
        ((index + 0.5) / len(group), number, hotkey)
        for number, group in enumerate((places.best, places.drawn))
        for index, hotkey in enumerate(group)
    )
    others, line = iter([hotkey for _, _, hotkey in spread]), iter(places.waiting)
    order: list[str] = []
    while turn := [*islice(line, 2), *islice(others, 1)]:
        order += turn
    return order


def assign_places(candidates: Iterable[Candidate], rules: Queue, seed: int) -> Places:
    """Who has one of the epoch's ``rules.size`` places.

    - best: the highest scores, the longest due first. Who has no score is not among the best, however few
      have one.
    - waiting: those who are longest due among the rest (``due_blocks``). They also get the places that the
      other groups leave empty.
    - drawn: without replacement among the rest, rank r (0 for the highest score) with a probability
      proportional to exp(-r / ``rules.rank_scale``) and to 1 / cost.

    Ties go to the earlier ``first_block``, then to the lower hotkey. The result depends on ``candidates`` and
    ``seed`` (not negative) alone, not on the order of ``candidates``. Raises ValueError for a hotkey that
    appears twice and for a score that is not finite.
    """
    ranked = _ranked(candidates)
    if len({candidate.hotkey for candidate in ranked}) < len(ranked):
        raise ValueError("a hotkey is a candidate twice")
    if not all(math.isfinite(candidate.score) for candidate in ranked):
        raise ValueError("every score must be finite")
    due = due_blocks(ranked, rules)
    best, rest = _split(ranked, rules)

    def patience(candidate: Candidate) -> tuple[float, int, str]:
        return due[candidate.hotkey], candidate.first_block, candidate.hotkey

    line = sorted(rest, key=patience)
    filled = rules.size - len(best) - min(rules.drawn, max(0, len(rest) - rules.waiting))
    waiting = line[:filled]
    served = {candidate.hotkey for candidate in waiting}
    drawn = _draw([candidate for candidate in rest if candidate.hotkey not in served], rules, seed)
    groups = (sorted(best, key=patience), waiting, drawn)
    return Places(*(tuple(candidate.hotkey for candidate in group) for group in groups))


def due_blocks(candidates: Sequence[Candidate], rules: Queue) -> dict[str, float]:
    """The block in which each hotkey's next evaluation is due, by hotkey: time is shared, not places.

    A hotkey's fair share of an epoch is ``rules.epoch_tokens`` / n. It is due as many epochs after its last
    evaluation as it takes to save up the cost of one: its tokens, and a place's part of the epoch for what
    every evaluation takes besides. So twice the tokens come half as often, and a tiny dataset gains little.

    A newcomer counts as evaluated ``CREDIT`` rounds before its first commitment; a round is what it takes to
    serve everyone once. So it comes before all others, unless it costs much more than they do or they have
    waited longer than that.
    """
    costs = {candidate.hotkey: _cost(candidate, rules) for candidate in candidates}
    n = len(costs)
    round_blocks = rules.epoch_blocks * max(n / rules.waiting, sum(costs.values()) / rules.epoch_tokens)
    due = {}
    for candidate in candidates:
        last = candidate.last_evaluated
        since = candidate.first_block - CREDIT * round_blocks if last is None else last
        period = rules.epoch_blocks * costs[candidate.hotkey] * n / rules.epoch_tokens
        due[candidate.hotkey] = since + period
    return due


def longest_wait(candidates: Iterable[Candidate], hotkey: str, rules: Queue) -> int:
    """In how many epochs at the latest ``hotkey``, one of ``candidates``, has a place; 1 is the next one.

    As long as nobody new comes, nobody leaves and no dataset changes its size: each epoch serves
    ``rules.waiting`` of those before it at the least, and who was served is before it again only while that
    one's next evaluation would still be due earlier. Raises ValueError for a hotkey that is no candidate.
    """
    ranked = _ranked(candidates)
    best, rest = _split(ranked, rules)
    if any(candidate.hotkey == hotkey for candidate in best):
        return 1
    if all(candidate.hotkey != hotkey for candidate in rest):
        raise ValueError(f"{hotkey} is no candidate")
    due = due_blocks(ranked, rules)
    now = max(
        candidate.first_block if candidate.last_evaluated is None else candidate.last_evaluated
        for candidate in ranked
    )
    first = {candidate.hotkey: candidate.first_block for candidate in ranked}
    own = (due[hotkey], first[hotkey], hotkey)
    again = []  # of those that are before it: how many times more they can be, one an epoch
    for candidate in ranked:
        if (due[candidate.hotkey], first[candidate.hotkey], candidate.hotkey) < own:
            period = rules.epoch_blocks * _cost(candidate, rules) * len(ranked) / rules.epoch_tokens
            again.append(max(0, math.floor((own[0] - period - now) / rules.epoch_blocks) + 1))
    epochs = 1
    while sum(min(1 + more, epochs) for more in again) >= rules.waiting * epochs:
        epochs += 1
    return epochs


def _ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda c: (-c.score, c.first_block, c.hotkey))


def _split(ranked: Sequence[Candidate], rules: Queue) -> tuple[Sequence[Candidate], Sequence[Candidate]]:
    """The best, and the rest."""
    scored = sum(candidate.score > 0 for candidate in ranked)
    count = min(rules.best, scored)
    return ranked[:count], ranked[count:]


def _cost(candidate: Candidate, rules: Queue) -> float:
    """Tokens that evaluating it takes away from the others."""
    tokens = rules.first_guess if candidate.tokens is None else candidate.tokens
    return tokens + rules.epoch_tokens / rules.size


def _draw(ranked: Sequence[Candidate], rules: Queue, seed: int) -> list[Candidate]:
    """Draw ``rules.drawn`` of ``ranked``, in the order drawn.

    The k highest of log-weight + standard Gumbel noise are a draw of k without replacement, one after the
    other with probability proportional to weight among those left (the Gumbel-top-k trick: Yellott 1977;
    Kool, van Hoof & Welling, "Stochastic Beams and Where to Find Them", 2019).
    """
    luck = [
        _gumbel(seed, candidate.hotkey) - rank / rules.rank_scale - math.log(_cost(candidate, rules))
        for rank, candidate in enumerate(ranked)
    ]
    order = sorted(range(len(ranked)), key=lambda rank: (-luck[rank], rank))
    return [ranked[rank] for rank in order[: rules.drawn]]


def _gumbel(seed: int, hotkey: str) -> float:
    """Standard Gumbel noise that follows from ``seed`` and ``hotkey`` alone, not from the rank.

    So validators whose scores differ a little, and with them some ranks, still draw nearly the same hotkeys:
    the more of them, the better their weights agree.
    """
    digest = blake2b(struct.pack("<Q", seed) + hotkey.encode(), digest_size=8).digest()
    uniform = ((int.from_bytes(digest, "little") >> 12) + 0.5) / 2**52  # in (0, 1), exactly
    return -math.log(-math.log(uniform))
