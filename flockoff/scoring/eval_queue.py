"""Who is evaluated in an epoch: the best, those longest due for their cost, and some drawn by rank."""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

from flockoff.competition import Queue

CREDIT = 2  # rounds of the queue that a newcomer is credited with having waited


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hotkey whose commitment counts in this epoch.

    A new commitment changes only ``tokens``, so it moves the hotkey only by its cost.
    """

    hotkey: str
    score: float
    first_block: int  # of the hotkey's first commitment ever seen
    last_evaluated: int | None  # start block of the epoch of its last evaluation; None: never evaluated
    tokens: int | None = None  # of the dataset to evaluate; None: not known yet


@dataclass(frozen=True, slots=True)
class Places:
    """The hotkeys with a place in an epoch, by group; nobody twice."""

    best: tuple[str, ...]
    waiting: tuple[str, ...]
    drawn: tuple[str, ...]


def plan_epoch(candidates: Iterable[Candidate], rules: Queue, seed: int) -> list[str]:
    """The hotkeys to evaluate (see ``assign_places``), in order.

    A validator may not reach the end. So two of every three places go to the waiting until those are used up,
    and the third alternates between the best and the drawn: the first m places always hold min(all waiting,
    ⌊2m/3⌋) of the waiting. Which of the three it is, and whose turn is first, is drawn by ``seed``: so over
    the epochs each group has its share of the first m places however small m is, and none is never reached.
    """
    places = assign_places(candidates, rules, seed)
    ahead, share = divmod(3 * _uniform(seed, ""), 1)
    # So spread, one of the best comes first as often as the best are a part of both groups.
    spread = sorted(
        ((index + offset) / len(group), hotkey)
        for group, offset in ((places.best, share), (places.drawn, 1 - share))
        for index, hotkey in enumerate(group)
    )
    others, line = iter([hotkey for _, hotkey in spread]), iter(places.waiting)
    order = [*islice(line, int(ahead))]
    while turn := [*islice(others, 1), *islice(line, 2)]:
        order += turn
    return order


def assign_places(candidates: Iterable[Candidate], rules: Queue, seed: int) -> Places:
    """Assign the epoch's ``rules.size`` places.

    - best: the highest scores, the longest due first; never hotkeys without a score.
    - waiting: the longest due among the rest (``due_blocks``); they also fill places that others leave empty.
    - drawn: without replacement among the rest, rank r (0 for the highest score) with a probability
      proportional to exp(-r / ``rules.rank_scale``) and to 1 / cost. One never evaluated has no rank yet, and
      counts as r = 0: what it is worth is best found out soon.

    Ties go to the earlier ``first_block``, then to the lower hotkey. The result depends only on
    ``candidates``, not on their order, and ``seed`` (not negative). Raises ValueError for a hotkey that
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
    filled = rules.size - len(best) - min(rules.drawn, len(rest) - rules.waiting)  # more than all of few
    waiting = line[:filled]
    served = {candidate.hotkey for candidate in waiting}
    drawn = _draw([candidate for candidate in rest if candidate.hotkey not in served], rules, seed)
    groups = (sorted(best, key=patience), waiting, drawn)
    return Places(*(tuple(candidate.hotkey for candidate in group) for group in groups))


def due_blocks(candidates: Sequence[Candidate], rules: Queue) -> dict[str, float]:
    """The block in which each hotkey's next evaluation is due: time is shared, not places.

    A hotkey's fair share of an epoch is ``rules.epoch_tokens`` / n. It is due when its shares since its last
    evaluation add up to the cost of one: its tokens, plus a place's part of the epoch for fixed costs. So a
    dataset of twice the tokens is due half as often, and a tiny one gains little.

    A newcomer counts as evaluated ``CREDIT`` rounds before its first commitment; a round is the time to serve
    everyone once. So it goes first, unless it costs much more than the others or they have waited longer than
    that.
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
    """The most epochs until ``hotkey``, one of ``candidates``, has a place; 1 is the next one.

    Assumes that nobody joins or leaves and no dataset changes size: each epoch serves at least
    ``rules.waiting`` of those ahead of it, and one that was served is ahead again only while its next
    evaluation is due earlier. Raises ValueError for a hotkey that is no candidate.
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
    again = []  # for those ahead of it: how many more times they can be
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
    """The cost of evaluating it, in tokens."""
    tokens = rules.first_guess if candidate.tokens is None else candidate.tokens
    return tokens + rules.epoch_tokens / rules.size


def _draw(ranked: Sequence[Candidate], rules: Queue, seed: int) -> list[Candidate]:
    """Draw ``rules.drawn`` of ``ranked``, in the order drawn.

    The k highest of log-weight + standard Gumbel noise are a draw of k without replacement, one after the
    other with probability proportional to weight among those left (the Gumbel-top-k trick: Yellott 1977;
    Kool, van Hoof & Welling, "Stochastic Beams and Where to Find Them", 2019).
    """
    luck = []
    for place, candidate in enumerate(ranked):
        rank = 0 if candidate.last_evaluated is None else place
        weight = -rank / rules.rank_scale - math.log(_cost(candidate, rules))
        luck.append(_gumbel(seed, candidate.hotkey) + weight)
    order = sorted(range(len(ranked)), key=lambda rank: (-luck[rank], rank))
    return [ranked[rank] for rank in order[: rules.drawn]]


def _gumbel(seed: int, hotkey: str) -> float:
    """Standard Gumbel noise from ``seed`` and ``hotkey`` alone, independent of rank.

    So validators whose scores, and with them some ranks, differ a little still draw nearly the same hotkeys,
    and their weights agree.
    """
    return -math.log(-math.log(_uniform(seed, hotkey)))


def _uniform(seed: int, name: str) -> float:
    """A number in (0, 1), which ``seed`` and ``name`` determine."""
    digest = blake2b(struct.pack("<Q", seed) + name.encode(), digest_size=8).digest()
    return ((int.from_bytes(digest, "little") >> 12) + 0.5) / 2**52
