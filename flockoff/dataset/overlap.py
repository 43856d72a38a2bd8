"""Whose rows are in a dataset: what it has in common with what others committed before.

The rule, for a dataset of a hotkey and all datasets that are known:

- An answer belongs to the hotkey of the earliest dataset with a match of it (``sketch.py`` says what that
  is). Earliest is the lowest block in which the owner of that content committed it, then the lowest uid. A
  hotkey's own earlier datasets count like any other's, so that nobody loses rows to those who copy them.
- An answer that is common property belongs to nobody: one in the competition's public sample, or one that
  the datasets of ``Overlap.common_owners`` coldkeys bear witness to. A dataset bears witness once it was
  evaluated, won against at least half of its epoch's others, and had no more than ``Overlap.witness_share``
  of other people's rows itself: what many good datasets have that are otherwise different is not one
  person's work. The dataset in question and its own hotkey's are no witnesses.
- More than ``Overlap.max_share`` of a dataset's assistant tokens in answers that belong to others makes it a
  near-duplicate, its miner's fault. Up to that, the rows with such an answer are not trained on.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import Overlap
from flockoff.dataset.duplicates import Claim
from flockoff.dataset.sketch import HASHES, NEEDED, Sketch, Table
from flockoff.errors import MinerFault, Reason

_OWNERS_IN_A_FAULT = 3
_ROWS_IN_A_FAULT = 3

_MARKS = 1 << 22
_CHOICES = np.array(list(combinations(range(HASHES), NEEDED)))  # (n_choices, NEEDED)
_MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Holding:
    """A dataset that is known. ``witness``: the coldkey for which it bears witness; None: for nobody."""

    claim: Claim
    sketch: Sketch
    witness: str | None = None


@dataclass(frozen=True, slots=True)
class BorrowedAnswer:
    """An answer that belongs to ``owner``: on ``line`` here, and on ``owner_line`` of the dataset claimed."""

    line: int
    tokens: int
    owner: Claim
    owner_line: int


@dataclass(frozen=True, slots=True)
class Borrowed:
    """What of a dataset belongs to others: ``answers`` in the order of its lines."""

    assistant_tokens: int  # of the whole dataset
    answers: tuple[BorrowedAnswer, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(answer.tokens for answer in self.answers)

    @property
    def share(self) -> float:
        """Of the dataset's assistant tokens, 0 to 1."""
        return self.tokens / max(1, self.assistant_tokens)

    @property
    def lines(self) -> tuple[int, ...]:
        """The lines of rows with an answer that belongs to somebody else, in order."""
        return tuple(sorted({answer.line for answer in self.answers}))

    def owners(self) -> list[tuple[Claim, float]]:
        """By hotkey its earliest claim and its share of the dataset's assistant tokens, largest first."""
        tokens: Counter[str] = Counter()
        claims: dict[str, Claim] = {}
        for answer in self.answers:
            tokens[answer.owner.hotkey] += answer.tokens
            known = claims.setdefault(answer.owner.hotkey, answer.owner)
            if answer.owner.block < known.block:
                claims[answer.owner.hotkey] = answer.owner
        return [
            (claims[hotkey], count / max(1, self.assistant_tokens)) for hotkey, count in tokens.most_common()
        ]


def borrowed(
    sketch: Sketch, claim: Claim, others: Iterable[Holding], rules: Overlap, public: Sketch | None = None
) -> Borrowed:
    """What of the dataset that ``claim`` is on belongs to others, by the module's rule.

    ``others``: all that is known, in order of seniority, lowest block first; the dataset itself among them is
    passed over. They are looked at one by one. ``public``: the competition's public sample. All sketches
    are of the same key.
    """
    matcher = _Matcher(sketch)
    count = len(sketch.table)
    owners: list[Claim] = []
    owner = np.full(count, -1)  # place in owners; the last stands for nobody
    owner_line = np.zeros(count, dtype=np.uint32)
    witnessed: dict[str, NDArray[np.bool_]] = {}
    for other in others:
        if other.claim.content_hash == claim.content_hash:
            continue
        is_own = other.claim.hotkey == claim.hotkey
        is_senior = other.claim.seniority < claim.seniority
        if not is_senior and (is_own or other.witness is None):
            continue
        places, lines = matcher.matches(other.sketch)
        if is_senior:
            new = owner[places] < 0
            owner[places[new]] = len(owners)
            owner_line[places[new]] = lines[new]
            owners.append(other.claim)
        if other.witness is not None and not is_own:
            witnessed.setdefault(other.witness, np.zeros(count, dtype=np.bool_))[places] = True
    taken = np.array([known.hotkey != claim.hotkey for known in owners] + [False])[owner]
    taken &= sum(witnessed.values(), np.zeros(count, dtype=np.int64)) < rules.common_owners
    if public is not None:
        taken[matcher.matches(public)[0]] = False
    found = np.flatnonzero(taken)
    return Borrowed(
        sketch.assistant_tokens,
        tuple(
            BorrowedAnswer(line, tokens, owners[place], there)
            for line, tokens, place, there in zip(
                sketch.lines[found].tolist(),
                sketch.tokens[found].tolist(),
                owner[found].tolist(),
                owner_line[found].tolist(),
                strict=True,
            )
        ),
    )


def near_duplicate_fault(found: Borrowed, rules: Overlap, *, rows_left: int) -> MinerFault | None:
    """The fault of a dataset with too many of other people's rows, or with none of its own.

    ``rows_left``: how many there are to train on. None up to ``rules.max_share`` while there are some.
    """
    if found.share <= rules.max_share and (rows_left or not found.answers):
        return None
    return MinerFault(
        Reason.NEAR_DUPLICATE,
        described_overlap(found) + ("" if rows_left else " No row is left to train on."),
        remedy=f"Commit a dataset of which others committed at most {rules.max_share:.0%} before.",
        copied=tuple(claim.hotkey for claim, _ in found.owners()),
    )


def described_overlap(found: Borrowed) -> str:
    """Whose answers are in a dataset that has some: which share, in which rows, with examples."""
    owners = found.owners()
    named = ", ".join(
        f"{share:.1%} by hotkey {claim.hotkey} (block {claim.block})"
        for claim, share in owners[:_OWNERS_IN_A_FAULT]
    )
    if len(owners) > _OWNERS_IN_A_FAULT:
        named += f", and by {len(owners) - _OWNERS_IN_A_FAULT:,} more"
    largest = owners[0][0].hotkey
    examples = "; ".join(
        f"line {answer.line} is line {answer.owner_line} of {answer.owner.hotkey}"
        for answer in [each for each in found.answers if each.owner.hotkey == largest][:_ROWS_IN_A_FAULT]
    )
    return (
        f"{found.share:.1%} of the dataset's assistant tokens, in {len(found.lines):,} rows, were committed"
        f" by others before, word for word or nearly so: {named}. For example {examples}."
    )


class _Matcher:
    """Finds the matches of one dataset's answers in others."""

    def __init__(self, sketch: Sketch) -> None:
        self._marks = np.zeros(_MARKS, dtype=np.bool_)
        self._marks[sketch.hashes & (_MARKS - 1)] = True
        self._marks[0] = False  # what stands for no hash; and one in four million others
        keys, places = _keys(sketch.hashes)
        order = np.argsort(keys)
        self._keys, self._places = keys[order], places[order]

    def matches(self, other: Sketch) -> tuple[Places, Table]:
        """The places of the answers that have a match in ``other``, each once, and the lines there."""
        # Nearly all of another dataset's answers end here.
        near = np.flatnonzero(self._marks[other.hashes & (_MARKS - 1)].sum(axis=1) >= NEEDED)
        keys, places = _keys(other.hashes[near])
        keys, first = np.unique(keys, return_index=True)
        lines = other.lines[near[places[first]]]
        start, end = np.searchsorted(self._keys, keys, "left"), np.searchsorted(self._keys, keys, "right")
        hits = end - start
        # As the keys are different, these are no more than there are keys here.
        places_here = self._places[np.repeat(start - np.cumsum(hits) + hits, hits) + np.arange(hits.sum())]
        matched, once = np.unique(places_here, return_index=True)
        return matched, np.repeat(lines, hits)[once]


def _keys(hashes: Table) -> tuple[NDArray[np.uint64], Places]:
    """Each choice of ``NEEDED`` of an answer's hashes as one number, and the answer's place."""
    keys = np.zeros((len(hashes), len(_CHOICES)), dtype=np.uint64)
    for column, multiplier in zip(_CHOICES.T, _MULTIPLIERS, strict=True):
        keys += hashes[:, column] * multiplier
    whole = (hashes[:, _CHOICES] != 0).all(axis=2)
    places = np.broadcast_to(np.arange(len(hashes))[:, None], whole.shape)
    return keys[whole], places[whole]
