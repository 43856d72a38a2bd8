"""Who is evaluated in an epoch: the best, some drawn by rank, and those who have waited longest."""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from flockoff.competition import Queue


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hotkey whose commitment counts in this epoch.

    Nothing here changes when a hotkey commits anew, so that does not move it in the queue.
    """

    hotkey: str
    score: float
    first_block: int  # of the hotkey's first commitment ever seen
    last_evaluated: int | None  # start block of the epoch of its last evaluation; None: never evaluated


@dataclass(frozen=True, slots=True)
class Places:
    """The hotkeys with a place in an epoch, by what gave it to them; nobody twice."""

    best: tuple[str, ...]
    drawn: tuple[str, ...]
    waiting: tuple[str, ...]


def plan_epoch(candidates: Iterable[Candidate], rules: Queue, seed: int) -> list[str]:
    """The hotkeys to evaluate (see ``assign_places``), in the order of their evaluation.

    The three groups are each spread evenly over the whole, so that any beginning of it is a fair sample: a
    validator too slow for all places would otherwise never come to the last group.
    """
    places = assign_places(candidates, rules, seed)
    spread = [
        ((index + 0.5) / len(group), number, hotkey)
        for number, group in enumerate((places.best, places.waiting, places.drawn))
        for index, hotkey in enumerate(group)
    ]
    return [hotkey for _, _, hotkey in sorted(spread)]


def assign_places(candidates: Iterable[Candidate], rules: Queue, seed: int) -> Places:
    """Who has one of the epoch's ``rules.size`` places.

    - best: the highest scores. Who has no score is not among the best, however few have one.
    - drawn: without replacement among the rest, rank r (0 for the highest score) with a probability
      proportional to exp(-r / ``rules.rank_scale``).
    - waiting: those whose last evaluation is longest ago, the never evaluated before all others. They also
      get the places that the groups above leave empty.

    Ties go to the earlier ``first_block``, then to the lower hotkey. The result depends on ``candidates`` and
    ``seed`` (not negative) alone, not on the order of ``candidates``. Raises ValueError for a hotkey that
    appears twice and for a score that is not finite.
    """
    ranked = sorted(candidates, key=lambda c: (-c.score, c.first_block, c.hotkey))
    if len({candidate.hotkey for candidate in ranked}) < len(ranked):
        raise ValueError("a hotkey is a candidate twice")
    if not all(math.isfinite(candidate.score) for candidate in ranked):
        raise ValueError("every score must be finite")
    scored = sum(candidate.score > 0 for candidate in ranked)
    best = ranked[: min(rules.best, scored)]
    rest = ranked[len(best) :]
    drawn = _draw(rest, rules, seed)
    taken = {candidate.hotkey for candidate in drawn}
    left = [candidate for candidate in rest if candidate.hotkey not in taken]
    waiting = sorted(left, key=_patience)[: rules.size - len(best) - len(drawn)]
    return Places(*(tuple(candidate.hotkey for candidate in group) for group in (best, drawn, waiting)))


def longest_wait(candidates: Iterable[Candidate], hotkey: str, rules: Queue) -> int:
    """In how many epochs at the latest ``hotkey``, one of ``candidates``, has a place; 1 is the next one.

    As long as nobody new comes and nobody leaves: each epoch serves ``rules.waiting`` of those before it at
    the least. Raises ValueError for a hotkey that is no candidate.
    """
    ranked = sorted(candidates, key=lambda c: (-c.score, c.first_block, c.hotkey))
    scored = sum(candidate.score > 0 for candidate in ranked)
    best = [candidate.hotkey for candidate in ranked[: min(rules.best, scored)]]
    if hotkey in best:
        return 1
    line = [candidate.hotkey for candidate in sorted(ranked, key=_patience) if candidate.hotkey not in best]
    return line.index(hotkey) // rules.waiting + 1


def _draw(ranked: Sequence[Candidate], rules: Queue, seed: int) -> list[Candidate]:
    """Draw ``rules.drawn`` of ``ranked``, in the order drawn.

    The k highest of log-weight + standard Gumbel noise are a draw of k without replacement, one after the
    other with probability proportional to weight among those left (the Gumbel-top-k trick: Yellott 1977;
    Kool, van Hoof & Welling, "Stochastic Beams and Where to Find Them", 2019).
    """
    luck = [
        _gumbel(seed, candidate.hotkey) - rank / rules.rank_scale for rank, candidate in enumerate(ranked)
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


def _patience(candidate: Candidate) -> tuple[bool, int, int, str]:
    evaluated = candidate.last_evaluated is not None
    return evaluated, candidate.last_evaluated or 0, candidate.first_block, candidate.hotkey
