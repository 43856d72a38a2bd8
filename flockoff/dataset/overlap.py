"""Whose rows are in a dataset: its overlap with what others committed before.

The rule, for a dataset of a hotkey and all datasets that are known:

- An answer belongs to the hotkey of the earliest dataset with a match of it whose claim stands, and so does
  a whole row (``sketch.py`` and ``row_pairs.py`` say what a match is). Earliest is the lowest block in which
  the owner of that content committed it, then the lowest uid. A hotkey's own earlier datasets count like any
  other's, so that nobody loses rows to those who copy them. So do those of a hotkey of the same coldkey that
  has left the subnet: a claim moves with the coldkey.
- A claim lapses when its owner has left the subnet and no other hotkey of its coldkey is there, and when its
  owner was evaluated ``Overlap.proof_evaluations`` times and never reached a win rate of
  ``Overlap.proof_win_rate``: who commits a public collection first does not own it for ever. Until then it
  stands.
- An answer that is common property belongs to nobody: one in the competition's public sample, or one that
  the datasets of ``Overlap.common_owners`` coldkeys bear witness to. A dataset bears witness once it was
  evaluated, won against at least half of its epoch's others, and had no more than ``Overlap.witness_share``
  of other people's rows itself; and only for answers that nobody committed in an earlier block. A dataset can
  be read from the block of its commitment on, so who has an answer later may have it from there, however
  many they are and however well they do. The dataset in question and its own hotkey's are no witnesses.
- Rows that belong to others, or have an answer that does, are not trained on. Where one owner that has won
  has more than ``Overlap.max_share`` of the dataset's assistant tokens, or no row is left, the dataset is a
  near-duplicate, its miner's fault. That share is of what every validator finds alike, since a score hangs on
  it: rows by their pairs, and answers in rows that have none. What only this validator's secret key shows is
  left out, and costs no more than that.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import Overlap
from flockoff.dataset.duplicates import Claim
from flockoff.dataset.filters import Filter
from flockoff.dataset.row_pairs import RowMatcher
from flockoff.dataset.sketch import HASHES, NEEDED, Sketch, Table
from flockoff.errors import MinerFault, Reason
from flockoff.text import counted

_CHOICES = np.array(list(combinations(range(HASHES), NEEDED)))  # (n_choices, NEEDED)
_MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Holding:
    """A known dataset. ``witness``: the coldkey for which it counts as a witness, or None."""

    claim: Claim
    sketch: Sketch
    witness: str | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of claims, a hotkey that is or was on the subnet.

    ``registered``: whether it is registered now. ``succeeded``: whether another hotkey of its coldkey is.
    ``evaluations``: epochs with a verdict on a dataset of its, its own faults included. ``best_win_rate``:
    the highest in any epoch, 0 to 1; None if it never competed.
    """

    coldkey: str
    registered: bool
    succeeded: bool
    evaluations: int
    best_win_rate: float | None

    def has_won(self, rules: Overlap) -> bool:
        return self.best_win_rate is not None and self.best_win_rate >= rules.proof_win_rate

    def has_standing(self, rules: Overlap) -> bool:
        """Whether its claims stand."""
        if not self.registered and not self.succeeded:
            return False
        return self.has_won(rules) or self.evaluations < rules.proof_evaluations


Owners = Mapping[str, Owner]
"""By hotkey. Who is not in it counts as registered and as having won."""


@dataclass(frozen=True, slots=True)
class BorrowedAnswer:
    """An answer, or all of a row, that is ``owner``'s: ``line`` here, ``owner_line`` of the dataset claimed.

    ``agreed``: whether every validator finds it, whatever its key.
    """

    line: int
    tokens: int
    owner: Claim
    owner_line: int
    agreed: bool = True


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
        """The lines of rows with others' answers, in order."""
        return tuple(sorted({answer.line for answer in self.answers}))

    def owners(self, *, agreed: bool = False) -> list[tuple[Claim, float]]:
        """Each owner's earliest claim and its share of the dataset's assistant tokens, largest first.

        ``agreed``: of what every validator finds.
        """
        tokens: Counter[str] = Counter()
        claims: dict[str, Claim] = {}
        for answer in self.answers:
            if agreed and not answer.agreed:
                continue
            tokens[answer.owner.hotkey] += answer.tokens
            known = claims.setdefault(answer.owner.hotkey, answer.owner)
            if answer.owner.block < known.block:
                claims[answer.owner.hotkey] = answer.owner
        return [
            (claims[hotkey], count / max(1, self.assistant_tokens)) for hotkey, count in tokens.most_common()
        ]


def borrowed(
    sketch: Sketch,
    claim: Claim,
    others: Iterable[Holding],
    rules: Overlap,
    public: Sketch | None = None,
    owners: Owners | None = None,
) -> Borrowed:
    """What of the dataset that ``claim`` is on belongs to others, by the module's rule.

    ``others``: all that is known, in order of seniority, lowest block first; the dataset itself among them is
    passed over. They are looked at one by one, none that is of a later block than ``claim``. ``public``: the
    competition's public sample. All sketches are of the same key. ``owners``: of all claims.
    """
    owners = owners or {}
    matcher = _Matcher(sketch, rules)
    count = matcher.count
    claims: list[Claim] = []
    owner = np.full(count, -1)  # place in claims; the last stands for nobody
    owner_line = np.zeros(count, dtype=np.uint32)
    first_block = np.full(count, np.iinfo(np.int64).max)
    witnessed: dict[str, NDArray[np.bool_]] = {}
    for other in others:
        if other.claim.block > claim.block:
            break  # later: it owns nothing here, and its answers may have been read there
        if other.claim.content_hash == claim.content_hash:
            continue
        is_own = other.claim.hotkey == claim.hotkey
        is_senior = other.claim.seniority < claim.seniority
        if not is_senior and (is_own or other.witness is None):
            continue
        places, lines = matcher.matches(other.sketch)
        known = owners.get(other.claim.hotkey)
        if is_senior and (is_own or known is None or known.has_standing(rules)):
            new = owner[places] < 0
            owner[places[new]] = len(claims)
            owner_line[places[new]] = lines[new]
            claims.append(other.claim)
        first_block[places] = np.minimum(first_block[places], other.claim.block)
        if other.witness is not None and not is_own:
            first = places[first_block[places] == other.claim.block]
            witnessed.setdefault(other.witness, np.zeros(count, dtype=np.bool_))[first] = True
    taken = np.array([not _is_its_own(known, claim, owners) for known in claims] + [False])[owner]
    taken &= sum(witnessed.values(), np.zeros(count, dtype=np.int64)) < rules.common_owners
    if public is not None:
        taken[matcher.matches(public)[0]] = False
    found = matcher.once_a_line(taken)
    return Borrowed(
        sketch.assistant_tokens,
        tuple(
            BorrowedAnswer(line, tokens, claims[place], there, agreed)
            for line, tokens, place, there, agreed in zip(
                matcher.lines[found].tolist(),
                matcher.tokens[found].tolist(),
                owner[found].tolist(),
                owner_line[found].tolist(),
                matcher.agreed[found].tolist(),
                strict=True,
            )
        ),
    )


def stands_against(other: Claim, claim: Claim, rules: Overlap, owners: Owners) -> bool:
    """Whether an earlier claim on the same content makes a copy of the one that ``claim`` is on.

    Not one of the same hotkey, of one that its coldkey had before, or of an owner whose claims have lapsed.
    """
    known = owners.get(other.hotkey)
    return not _is_its_own(other, claim, owners) and (known is None or known.has_standing(rules))


def _is_its_own(other: Claim, claim: Claim, owners: Owners) -> bool:
    """Whether the other claim is the same hotkey's, or a former hotkey's of its coldkey."""
    if other.hotkey == claim.hotkey:
        return True
    theirs, mine = owners.get(other.hotkey), owners.get(claim.hotkey)
    return (
        theirs is not None and mine is not None and not theirs.registered and theirs.coldkey == mine.coldkey
    )


def near_duplicate_fault(
    found: Borrowed, rules: Overlap, *, rows_left: int, owners: Owners | None = None
) -> MinerFault | None:
    """The fault of a dataset most of which is one winning owner's, or with no row of its own.

    ``rows_left``: how many there are to train on. ``owners``: as for ``borrowed``; an owner is a coldkey
    where it is known, since twenty hotkeys of one person are one.
    """
    shares: defaultdict[str, float] = defaultdict(float)
    for claim, share in found.owners(agreed=True):
        known = (owners or {}).get(claim.hotkey)
        if known is None or known.has_won(rules):
            shares[claim.hotkey if known is None else known.coldkey] += share
    most = max(shares.values(), default=0)
    if most <= rules.max_share and (rows_left or not found.answers):
        return None
    return MinerFault(
        Reason.NEAR_DUPLICATE,
        described_overlap(found) + ("" if rows_left else " No row is left to train on."),
        remedy=f"Replace them with rows of your own: at most {rules.max_share:.0%} may be one other's.",
        copied=tuple(claim.hotkey for claim, _ in found.owners()),
    )


def described_overlap(found: Borrowed) -> str:
    """Which share of a dataset that has any was others' before, and in how many rows; the owner of most, with
    an example. The others are a number: a list of them would drown the remedy after it.
    """
    (largest, share), *others = found.owners()
    example = next(answer for answer in found.answers if answer.owner.hotkey == largest.hotkey)
    named = (
        f"by hotkey {largest.hotkey} (block {largest.block}; line {example.line} is its line"
        f" {example.owner_line})"
    )
    if others:
        rest = sum(each for _, each in others)
        named = f"{share:.1%} {named}, {rest:.1%} by {counted(len(others), 'other')}"
    return (
        f"{found.share:.1%} of the assistant tokens, in {counted(len(found.lines), 'row')}, were committed"
        f" before, word for word or nearly so: {named}."
    )


class _Matcher:
    """Finds what of one dataset is in others: first its answers, by their shingles, then its rows, by pairs.

    ``lines``, ``tokens``: (count,), of each. ``agreed``: (count,), whether every validator finds it: a row,
    and an answer in a row without pairs, which nothing else can tell. Where a row's pairs are all its
    dataset's format, as with one template, its answers may match by chance: that is left out, and no fault.
    """

    def __init__(self, sketch: Sketch, rules: Overlap) -> None:
        rows = sketch.rows
        self.lines = np.concatenate([sketch.lines, rows.lines])
        self.tokens = np.concatenate([sketch.tokens, rows.tokens])
        self.count = len(self.lines)
        self._answers = _AnswerMatcher(sketch)
        self._rows = RowMatcher(rows, rules)
        self._is_row = np.arange(self.count) >= len(sketch.table)
        paired = rows.lines[rows.totals >= rules.row_pairs]
        self.agreed = self._is_row | ~np.isin(self.lines, paired)

    def matches(self, other: Sketch) -> tuple[Places, Table]:
        """The places of what has a match in ``other``, each once, and the lines there."""
        answers, answer_lines = self._answers.matches(other)
        rows, row_lines = self._rows.matches(other.rows)
        first_row = self.count - np.count_nonzero(self._is_row)
        return np.concatenate([answers, rows + first_row]), np.concatenate([answer_lines, row_lines])

    def once_a_line(self, taken: NDArray[np.bool_]) -> Places:
        """The places of what is ``taken``, in order of lines; of a row taken whole no single answer."""
        whole = self.lines[taken & self._is_row]
        found = np.flatnonzero(taken & (self._is_row | ~np.isin(self.lines, whole)))
        return found[np.argsort(self.lines[found], kind="stable")]


class _AnswerMatcher:
    """Finds the matches of one dataset's answers in others."""

    def __init__(self, sketch: Sketch) -> None:
        self._known = Filter(sketch.hashes[sketch.hashes > 0])
        keys, places = _keys(sketch.hashes)
        order = np.argsort(keys)
        self._keys, self._places = keys[order], places[order]

    def matches(self, other: Sketch) -> tuple[Places, Table]:
        """The places of the answers that have a match in ``other``, each once, and the lines there."""
        # This filters out nearly all of another dataset's answers.
        known = self._known.among(other.hashes.ravel())
        near = np.flatnonzero(np.bincount(known // HASHES, minlength=len(other.table)) >= NEEDED)
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
