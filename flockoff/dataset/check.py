"""The whole check of a dataset: what the miner's tools show and what a validator records."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from flockoff.competition import Contamination, Limits
from flockoff.dataset.contamination import EvaluationAnswers, contamination_fault
from flockoff.dataset.content import ContentHasher
from flockoff.dataset.format import MAX_DETAIL, described, file_size, load_numbered_rows, read_rows
from flockoff.errors import MinerFault, Reason
from flockoff.ports import RowEncoder
from flockoff.records import DatasetReport, EncodedRow, Row, RowProblem, Turn
from flockoff.text import printable

MAX_PROBLEMS = 20  # that a report names
_PROBLEMS_IN_A_FAULT = 3

# A batch is large enough to keep a parallel tokeniser busy, and small enough for its bookkeeping, up to 350
# bytes for each byte of text, to stay under 150 MB even with a row of the longest legal line on top.
_BATCH_ROWS = 128
_BATCH_BYTES = 128 * 1024

_ONE_MORE_EXCHANGE = (Turn("user", "more"), Turn("assistant", "more"))


@dataclass(frozen=True, slots=True)
class _Encoded:
    line: int
    row: Row
    tokens: EncodedRow


def check_dataset(path: Path, limits: Limits, encoder: RowEncoder) -> DatasetReport:
    """Everything that can be wrong with the dataset, in the file's order, and what it amounts to.

    The first row over a limit ends the check: nothing after it is read, encoded or counted.
    A row that was cut cannot be told from one that fills the context to the last token: both count as cut.
    Raises SetupError where the file cannot be read.
    """
    size = file_size(path)
    tally = _Tally(limits.max_tokens)
    for found in _encoded(_batches(read_rows(path, limits, encoder.special_tokens)), encoder):
        if isinstance(found, RowProblem):
            tally.add_problem(found)
        else:
            tally.add_row(found)
        if tally.tokens > limits.max_tokens:
            break
    return DatasetReport(
        rows=tally.rows,
        bytes=size,
        tokens=tally.tokens,
        assistant_tokens=tally.assistant_tokens,
        cut_rows=_cut_rows(tally, encoder),
        content_hash=None if tally.problem_count else tally.hasher.hexdigest(),
        problems=tuple(tally.problems),
        problem_count=tally.problem_count,
    )


def contamination_of(
    path: Path,
    limits: Limits,
    rules: Contamination,
    special_tokens: frozenset[str],
    answers: EvaluationAnswers,
) -> MinerFault | None:
    """The fault of a valid dataset that contains too many of the evaluation set's answers."""
    numbered = load_numbered_rows(path, limits, special_tokens)
    places = answers.contaminated_rows(row for _, row in numbered)
    return contamination_fault([numbered[place][0] for place in places], len(numbered), rules)


def fault_of(report: DatasetReport) -> MinerFault:
    """The fault of an invalid dataset: the first problem's reason, and the first few lines to correct."""
    named = report.problems[:_PROBLEMS_IN_A_FAULT]
    message = "The dataset is not valid: " + "; ".join(described(problem) for problem in named)
    if more := report.problem_count - len(named):
        message += f"; and {more:,} more problem{'s' if more > 1 else ''}"
    return MinerFault(
        named[0].reason, message + ".", remedy="Correct data.jsonl, then upload and commit it again."
    )


def _batches(
    rows: Iterable[tuple[int, Row | RowProblem]],
) -> Iterator[list[tuple[int, Row | RowProblem]]]:
    batch: list[tuple[int, Row | RowProblem]] = []
    size = 0
    for line, row in rows:
        batch.append((line, row))
        if isinstance(row, Row):
            size += _text_bytes(row)
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _text_bytes(row: Row) -> int:
    return len((row.system or "").encode()) + sum(len(turn.content.encode()) for turn in row.turns)


def _encoded(
    batches: Iterable[list[tuple[int, Row | RowProblem]]], encoder: RowEncoder
) -> Iterator[_Encoded | RowProblem]:
    """Rows with their tokens, and problems with rows, in the file's order."""
    for batch in batches:
        encoded = iter(_encode([row for _, row in batch if isinstance(row, Row)], encoder))
        for line, row in batch:
            if isinstance(row, RowProblem):
                yield row
            elif isinstance(tokens := next(encoded), MinerFault):
                yield RowProblem(line, tokens.reason, printable(tokens.message.rstrip("."), MAX_DETAIL))
            else:
                yield _Encoded(line, row, tokens)


def _encode(rows: list[Row], encoder: RowEncoder) -> list[EncodedRow | MinerFault]:
    """What the encoder makes of each row, or what it holds against it."""
    try:
        return [*encoder.encode(rows)] if rows else []
    except MinerFault as fault:
        if len(rows) == 1:
            return [fault]
        return [found for row in rows for found in _encode([row], encoder)]


@dataclass(slots=True)
class _Tally:
    """What was found so far."""

    max_tokens: int
    rows: int = 0  # good and bad
    tokens: int = 0
    assistant_tokens: int = 0
    problems: list[RowProblem] = field(default_factory=list)
    problem_count: int = 0
    hasher: ContentHasher = field(default_factory=ContentHasher)
    longest: Row | None = None
    longest_tokens: int = 0
    longest_count: int = 0  # rows of that many tokens

    def add_problem(self, problem: RowProblem) -> None:
        self.rows += problem.line > 0
        self._note(problem)

    def add_row(self, found: _Encoded) -> None:
        tokens, assistant_tokens = len(found.tokens.input_ids), sum(found.tokens.assistant)
        self.rows += 1
        self.tokens += tokens
        self.assistant_tokens += assistant_tokens
        self.hasher.add(found.row)
        if tokens > self.longest_tokens:
            self.longest, self.longest_tokens, self.longest_count = found.row, tokens, 0
        self.longest_count += tokens == self.longest_tokens
        if assistant_tokens == 0:
            detail = "no token of an assistant's turn is left within the context"
            self._note(RowProblem(found.line, Reason.NOTHING_TO_LEARN, detail))
        if self.tokens > self.max_tokens:
            detail = f"the rows down to this one have more than the {self.max_tokens:,} tokens of a dataset"
            self._note(RowProblem(found.line, Reason.TOO_MANY_TOKENS, detail))

    def _note(self, problem: RowProblem) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def _cut_rows(tally: _Tally, encoder: RowEncoder) -> int:
    """How many rows fill the context: those of the most tokens, if one more exchange adds none to them."""
    if tally.longest is None:
        return 0
    longer = replace(tally.longest, turns=tally.longest.turns + _ONE_MORE_EXCHANGE)
    (encoded,) = encoder.encode([longer])
    return tally.longest_count if len(encoded.input_ids) == tally.longest_tokens else 0
