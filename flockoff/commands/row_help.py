"""The work of ``flockoff score --rows``: what groups of a dataset's rows are and do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from flockoff.dataset import NearRepeat, NearRepeats, script_of
from flockoff.records import Row

_BLOCKS = 10
_BLOCK_ROWS = 8  # the least in a block: of fewer the mean says little
_SURE = 2.0  # standard errors
_ENDS = 5  # lines named

HOW_SURE = (
    "How sure: these are slopes at the end of the training under seed {seed}, ± two standard errors by how "
    "a group's rows differ; 1 is what learning the evaluation set itself would do. The guide rows.md has "
    "measured how well they foretell what leaving a group out costs."
)

Verdict = Literal["helps", "unclear", "harms"]


@dataclass(frozen=True, slots=True)
class RowFacts:
    """One row that is trained on. ``tokens``: its assistant's, within the context."""

    line: int
    tokens: int
    script: str
    kind: str


@dataclass(frozen=True, slots=True)
class GroupHelp:
    """What a group of rows does for the evaluation loss.

    ``share``: of the assistant tokens of all rows. ``help``: per assistant token, 1 where learning it helps
    as learning the evaluation set itself would, 0 where it does nothing, negative where it harms. ``error``:
    its standard error, by how the group's rows differ; None for a single row.
    """

    name: str
    rows: int
    share: float
    help: float
    error: float | None

    @property
    def verdict(self) -> Verdict:
        """``unclear`` where 0 is within two standard errors."""
        if self.error is None or abs(self.help) <= _SURE * self.error:
            return "unclear"
        return "helps" if self.help > 0 else "harms"


class RowCensus:
    """Notes what kinds of rows a dataset has; ``add`` is a ``RowVisitor``."""

    def __init__(self) -> None:
        self.rows: list[RowFacts] = []
        self._repeats = NearRepeats()

    def add(self, line: int, row: Row, assistant_tokens: int) -> None:
        answers = "\n".join(turn.content for turn in row.turns if turn.role == "assistant")
        self.rows.append(RowFacts(line, assistant_tokens, script_of(answers), _kind(row, answers)))
        self._repeats.add(line, row, assistant_tokens)

    def near_repeats(self) -> tuple[NearRepeat, ...]:
        return self._repeats.found()


def _kind(row: Row, answers: str) -> str:
    """What can be told of a row without understanding it."""
    if "```" in answers:
        return "with code"
    return "several turns" if len(row.turns) > 2 else "one turn"


def groupings(rows: Sequence[RowFacts], values: Mapping[int, float]) -> dict[str, list[GroupHelp]]:
    """The rows grouped by place in the file, length, kind and script; each from most helpful to harmful.

    ``values``: of each line that is trained on, as ``Influence.rows``; the other rows do not count.
    """
    trained = [row for row in rows if row.line in values]
    blocks = _blocks(trained)
    by: dict[str, Callable[[RowFacts], str]] = {
        "lines": lambda row: blocks[row.line],
        "answer's tokens": lambda row: _length(row.tokens),
        "kind": lambda row: row.kind,
        "script": lambda row: row.script,
    }
    return {name: grouped(trained, values, key) for name, key in by.items()}


def grouped(
    rows: Sequence[RowFacts], values: Mapping[int, float], key: Callable[[RowFacts], str]
) -> list[GroupHelp]:
    """The groups of rows with the same ``key``, most helpful first."""
    members: dict[str, list[RowFacts]] = {}
    for row in rows:
        members.setdefault(key(row), []).append(row)
    total = sum(row.tokens for row in rows)
    found = [
        _group(name, [(values[row.line], row.tokens) for row in group], total)
        for name, group in members.items()
    ]
    return sorted(found, key=lambda group: -group.help)


def _group(name: str, rows: Sequence[tuple[float, int]], total: int) -> GroupHelp:
    """``rows``: the value and the tokens of each."""
    tokens = sum(count for _, count in rows)
    a_token = sum(value for value, _ in rows) / tokens
    error = None
    if len(rows) > 1:  # the usual error of a ratio of two sums
        squares = sum((value - a_token * count) ** 2 for value, count in rows)
        error = sqrt(squares * len(rows) / (len(rows) - 1)) / tokens
    return GroupHelp(name, len(rows), tokens / total, a_token, error)


def _blocks(rows: Sequence[RowFacts]) -> dict[int, str]:
    """Each line's block of consecutive rows, all blocks of about as many."""
    count = max(1, min(_BLOCKS, len(rows) // _BLOCK_ROWS))
    names: dict[int, str] = {}
    for block in range(count):
        members = rows[len(rows) * block // count : len(rows) * (block + 1) // count]
        names |= {row.line: f"{members[0].line:,} to {members[-1].line:,}" for row in members}
    return names


def _length(tokens: int) -> str:
    above = 2 ** (max(tokens, 1) - 1).bit_length()
    return f"{above // 2 + 1:,} to {above:,}"


def ends(rows: Sequence[RowFacts], values: Mapping[int, float]) -> tuple[list[int], list[int]]:
    """The lines that help most, and those that harm most, by all their tokens: worst first."""
    ranked = sorted((row.line for row in rows if row.line in values), key=lambda line: values[line])
    worst = [line for line in ranked if values[line] < 0][:_ENDS]
    best = [line for line in reversed(ranked) if values[line] > 0][:_ENDS]
    return best, worst


def advice(
    found: Mapping[str, Sequence[GroupHelp]], worst: Sequence[int], repeats: Sequence[NearRepeat]
) -> Iterable[str]:
    """What to do about it, in sentences."""
    harmful = [
        f"{name} {group.name}"
        for name, groups in found.items()
        for group in groups
        if group.verdict == "harms"
    ]
    if harmful:
        yield f"Take out, and measure again: {'; '.join(harmful)}."
    elif worst:
        named = ", ".join(f"{line:,}" for line in worst)
        yield f"No group clearly harms. Read the rows that harm most, and replace them first: lines {named}."
    else:
        yield "No row harms. Replace first what helps least."
    if len(repeats) == 1:
        yield "Replace the row that nearly repeats another by something new."
    elif repeats:
        yield f"Replace the {len(repeats):,} rows that nearly repeat another by something new."
    yield (
        "A slope says what to try, not what you gain: only the loss of the changed dataset "
        "decides: flockoff score tells it."
    )
