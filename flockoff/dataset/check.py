"""The full check of a dataset, for the miner's tools and the validator.

One pass over the file. The caller's thread reads and inspects rows, while two others encode: a tokenizer
releases the GIL, and with two of them one is always running.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from flockoff.competition import Contamination, Limits, Training
from flockoff.dataset.contamination import AnswerSearch, EvaluationAnswers, FoundAnswer, contamination_fault
from flockoff.dataset.content import ContentHasher
from flockoff.dataset.format import MAX_DETAIL, described, file_size, read_rows
from flockoff.errors import MinerFault, Reason
from flockoff.ports import RowEncoder
from flockoff.records import DatasetReport, EncodedRow, Row, RowProblem, Turn
from flockoff.text import printable

BEYOND_DOUBT = 100  # rows with answers
MAX_PROBLEMS = 20  # listed in a report, and as many cut rows
TOO_SMALL = (
    "Add rows: with so few, the only optimizer step is the first of the warm-up, whose rate is 0, and the"
    " loss stays the base model's."
)
_PROBLEMS_IN_A_FAULT = 3

_THREADS = 2
# Enough to keep them busy. A tokenizer allocates up to 350 bytes per byte of text.
_BATCHES_AHEAD = 3
_BATCH_ROWS = 128
_BATCH_BYTES = 64 * 1024

RowVisitor = Callable[[int, Row, int], None]
"""Takes a row's 1-based line, the row as far as the context reaches, which is what a model would see of it,
and how many assistant tokens that is."""

_Rows = list[tuple[int, Row | RowProblem]]


@dataclass(frozen=True, slots=True)
class _Encoded:
    line: int
    row: Row
    tokens: EncodedRow


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result of the check. ``fault`` is None for a valid, uncontaminated dataset.

    ``left_out``: the 1-based lines not to train on, in order. ``answers``: those of them with answers of the
    public evaluation set, and which; the others have answers of the sealed one.
    """

    report: DatasetReport
    fault: MinerFault | None
    left_out: tuple[int, ...] = ()
    answers: tuple[FoundAnswer, ...] = ()


def judge_dataset(
    path: Path,
    limits: Limits,
    rules: Contamination,
    encoder: RowEncoder,
    answers: EvaluationAnswers | None,
    sealed_answers: EvaluationAnswers | None = None,
    visitors: Sequence[RowVisitor] = (),
    *,
    thorough: bool = True,
) -> Judgement:
    """Whether a dataset is valid and free of the evaluation sets' answers; these only where they are given.

    ``visitors`` are shown the rows as by ``check_dataset``. For the sealed set's answers the judgement's
    fault says only how many rows contain one. ``thorough``: to the file's end; else no farther than the row
    by which ``BEYOND_DOUBT`` rows with answers were found, a fault whatever follows.
    Raises SetupError where the file cannot be read.
    """
    most = math.inf if thorough else max(BEYOND_DOUBT, rules.max_rows + 1)
    public, sealed = (
        None if each is None else AnswerSearch(each, rules) for each in (answers, sealed_answers)
    )
    searches = [search for search in (public, sealed) if search is not None]
    report = check_dataset(
        path,
        limits,
        encoder,
        visitors,
        searches=searches,
        most=most,
    )
    if not report.valid:
        return Judgement(report, fault_of(report))
    found = public.found() if public is not None else ()
    lines = {each.line for each in found}
    others = [each for each in sealed.found() if each.line not in lines] if sealed is not None else []
    is_whole = report.content_hash is not None
    fault = contamination_fault(found, report.rows, rules, sealed=others, is_whole=is_whole)
    left_out = tuple(sorted(lines | {each.line for each in others}))
    return Judgement(report, fault, left_out=left_out, answers=found)


def check_dataset(
    path: Path,
    limits: Limits,
    encoder: RowEncoder,
    visitors: Sequence[RowVisitor] = (),
    *,
    searches: Sequence[AnswerSearch] = (),
    most: float = math.inf,
) -> DatasetReport:
    """All problems of the dataset, in the file's order, and its size.

    The first row over a limit ends the check: nothing after it is read or counted. ``visitors`` and
    ``searches`` get the rows in the file's order until the first problem. The row with which a search has
    found ``most`` rows with answers ends the check as well, without a content hash.
    Raises SetupError where the file cannot be read, and whatever the encoder does other than MinerFault.
    """
    size = file_size(path)
    tally = _Tally(limits.max_tokens)
    visitors = [*(search.add for search in searches), *visitors]
    is_whole = True
    batches = _batches(read_rows(path, limits, encoder.special_tokens))
    with closing(_encoded(batches, encoder)) as everything:
        for found in everything:
            if isinstance(found, RowProblem):
                tally.add_problem(found)
                continue
            assistant_tokens = tally.add_row(found)
            if tally.tokens > limits.max_tokens:
                break
            if not tally.problem_count:
                for visit in visitors:
                    visit(found.line, _seen(found.row, found.tokens.cut_at), assistant_tokens)
            if any(search.rows_found >= most for search in searches):
                is_whole = False
                break
    return DatasetReport(
        rows=tally.rows,
        bytes=size,
        tokens=tally.tokens,
        assistant_tokens=tally.assistant_tokens,
        cut_rows=tally.cut_rows,
        cut_lines=tuple(tally.cut_lines),
        content_hash=tally.hasher.hexdigest() if is_whole and not tally.problem_count else None,
        problems=tuple(tally.problems),
        problem_count=tally.problem_count,
        repeated_rows=tally.hasher.repeated(),
        lengths=tuple(tally.lengths[place] for place in range(max(tally.lengths, default=-1) + 1)),
    )


def too_small(rows: int, rules: Training) -> bool:
    """Whether this many rows train nothing: their only optimizer step is a warm-up step at learning rate
    0."""
    steps = rules.epochs * -(-rows // rules.rows_per_step)
    return steps <= 1 and rules.warmup_steps > 0


def fault_of(report: DatasetReport) -> MinerFault:
    """The fault of an invalid dataset: the first problem's reason, and the first few lines to correct."""
    named = report.problems[:_PROBLEMS_IN_A_FAULT]
    message = "The dataset is not valid: " + "; ".join(described(problem) for problem in named)
    if more := report.problem_count - len(named):
        message += f"; and {more:,} more problem{'s' if more > 1 else ''}"
    return MinerFault(
        named[0].reason, message + ".", remedy="Correct data.jsonl, then upload and commit it again."
    )


@dataclass(slots=True)
class _Tally:
    """What was found so far."""

    max_tokens: int
    rows: int = 0  # good and bad
    tokens: int = 0
    assistant_tokens: int = 0
    cut_rows: int = 0
    cut_lines: list[int] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    problem_count: int = 0
    hasher: ContentHasher = field(default_factory=ContentHasher)
    lengths: Counter[int] = field(default_factory=Counter)

    def add_problem(self, problem: RowProblem) -> None:
        self.rows += problem.line > 0
        self._note(problem)

    def add_row(self, found: _Encoded) -> int:
        """Returns how many assistant tokens the row has."""
        assistant_tokens = sum(found.tokens.assistant)
        self.rows += 1
        self.tokens += len(found.tokens.input_ids)
        self.assistant_tokens += assistant_tokens
        if found.tokens.cut_at is not None:
            self.cut_rows += 1
            if len(self.cut_lines) < MAX_PROBLEMS:
                self.cut_lines.append(found.line)
        self.hasher.add(found.row)
        self.lengths[(len(found.tokens.input_ids) - 1).bit_length()] += 1
        if assistant_tokens == 0:
            detail = "no assistant token is left within the context"
            self._note(RowProblem(found.line, Reason.NOTHING_TO_LEARN, detail))
        if self.tokens > self.max_tokens:
            detail = f"the rows down to this one have more than the {self.max_tokens:,} tokens of a dataset"
            self._note(RowProblem(found.line, Reason.TOO_MANY_TOKENS, detail))
        return assistant_tokens

    def _note(self, problem: RowProblem) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def _seen(row: Row, cut_at: int | None) -> Row:
    """The row as far as the context reaches, and at most by the template's own text beyond.

    White space around a content counts as nothing, since some templates strip it.
    """
    if cut_at is None:
        return row
    system = row.system and row.system.strip()[:cut_at]
    room = cut_at - len(system or "")
    turns: list[Turn] = []
    for turn in row.turns:
        if room <= 0:
            break
        content = turn.content.strip()[:room]
        turns.append(Turn(turn.role, content))
        room -= len(content)
    return Row(system, tuple(turns))


# --- rows to tokens --------------------------------------------------------------------------------------


def _batches(rows: Iterable[tuple[int, Row | RowProblem]]) -> Iterator[_Rows]:
    batch: _Rows = []
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
    """An upper bound of the UTF-8's length, without the cost of encoding everything."""
    texts = [row.system or "", *(turn.content for turn in row.turns)]
    return sum(len(text) if text.isascii() else 4 * len(text) for text in texts)


def _encoded(batches: Iterable[_Rows], encoder: RowEncoder) -> Generator[_Encoded | RowProblem, None, None]:
    """Rows with their tokens, and problems with rows, in the file's order; meanwhile the next are encoded."""
    under_way: deque[tuple[_Rows, Future[list[EncodedRow | MinerFault]]]] = deque()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="encode")
    try:
        for batch in batches:
            rows = [row for _, row in batch if isinstance(row, Row)]
            under_way.append((batch, pool.submit(_encode, rows, encoder)))
            if len(under_way) > _BATCHES_AHEAD:
                first, tokens = under_way.popleft()
                yield from _joined(first, tokens.result())
        for first, tokens in under_way:
            yield from _joined(first, tokens.result())
    finally:
        pool.shutdown(cancel_futures=True)


def _encode(rows: list[Row], encoder: RowEncoder) -> list[EncodedRow | MinerFault]:
    """Each row encoded, or the encoder's objection to it."""
    try:
        return [*encoder.encode(rows)] if rows else []
    except MinerFault as fault:
        if len(rows) == 1:
            return [fault]
        return [found for row in rows for found in _encode([row], encoder)]


def _joined(rows: _Rows, encoded: Iterable[EncodedRow | MinerFault]) -> Iterator[_Encoded | RowProblem]:
    each = iter(encoded)
    for line, row in rows:
        if isinstance(row, RowProblem):
            yield row
        elif isinstance(tokens := next(each), MinerFault):
            yield RowProblem(line, tokens.reason, printable(tokens.message.rstrip("."), MAX_DETAIL))
        else:
            yield _Encoded(line, row, tokens)
