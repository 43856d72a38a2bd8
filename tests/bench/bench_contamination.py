"""Recall and precision of contamination detection: ``python -m tests.bench contamination [--each N] [--texts
DIR …]``.

1. Precision and recall on the labelled set of tests/support/contamination_cases.py: --each disguised answers
   of every kind, and 256 honest rows of every kind, at several thresholds (``runs``, ``answer_share`` and
   ``pair_share`` of ``Contamination``), the default among them. Then by kind, at each of these thresholds.
2. How many rows of other people's texts are taken for contaminated: the text files below --texts, cut into
   rows of 200 words, 20,000 rows a dataset. ``pieces`` are rows with some runs of an answer, but too few.
3. Processor seconds of the search a 64 MiB of ordinary text.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from flockoff.competition import Contamination
from flockoff.dataset import AnswerSearch, EvaluationAnswers
from flockoff.records import Row
from tests.support.contamination_cases import (
    BEYOND,
    DISGUISES,
    HELD_OUT,
    Case,
    evaluation_rows,
    negatives,
    paraphrased_by_hand,
    positives,
    samples,
    talk,
)

DEFAULT = Contamination()
NO_PAIRS = 1.0  # as good as none
THRESHOLDS = [
    Contamination(runs=runs, answer_share=share, pair_share=pairs)
    for runs, share, pairs in (
        *((30, 0.15, NO_PAIRS), (50, 0.2, NO_PAIRS), (100, 0.5, NO_PAIRS)),
        *((50, 0.2, 0.1), (50, 0.2, 0.13), (50, 0.2, 0.2), (50, 0.2, 0.25)),
    )
] + [DEFAULT]
HONEST_EACH = 256
ROWS = 20_000
WORDS = 200
MIB = 1024 * 1024
SUFFIXES = {".txt", ".md", ".rst", ".py", ".html", ".json", ".c", ".h", ".js", ".ts", ".rs", ".go"}


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def found_in(answers: EvaluationAnswers, rows: Iterable[Row], rules: Contamination) -> set[int]:
    """The places of rows that contain answers, when these are all rows of a dataset."""
    search = AnswerSearch(answers, rules)
    for place, row in enumerate(rows):
        search.add(place, row, 0)
    return {found.line for found in search.found()}


def hits_by_kind(answers: EvaluationAnswers, cases: Sequence[Case], rules: Contamination) -> Counter[str]:
    """How many rows are found; every case is a dataset of its own."""
    hits: Counter[str] = Counter()
    for case in cases:
        hits[case.kind] += len(found_in(answers, case.rows, rules))
    return hits


def rows_by_kind(cases: Sequence[Case]) -> Counter[str]:
    rows: Counter[str] = Counter()
    for case in cases:
        rows[case.kind] += len(case.rows)
    return rows


def measure(answers: EvaluationAnswers, each: int) -> None:
    disguised = [case for some in (DISGUISES, HELD_OUT, BEYOND) for case in positives(some, each)]
    honest_cases = [*negatives(HONEST_EACH)]
    cases = [*disguised, *paraphrased_by_hand(), *honest_cases]
    rows, honest = rows_by_kind(cases), rows_by_kind(honest_cases)
    ordered = sorted(THRESHOLDS, key=lambda rules: (-rules.pair_share, rules.runs))
    columns = [hits_by_kind(answers, cases, rules) for rules in ordered]
    contaminated = sum(rows[kind] for kind in DISGUISES)
    say(f"{contaminated:,} rows of {len(DISGUISES)} disguises, {honest.total():,} honest rows\n")
    say(f"{'runs':>5} {'share':>6} {'pairs':>6} {'recall':>8} {'precision':>10} {'honest rows found':>18}")
    for rules, hits in zip(ordered, columns, strict=True):
        right = sum(hits[kind] for kind in DISGUISES)
        wrong = sum(hits[kind] for kind in honest)
        say(
            f"{rules.runs:5} {rules.answer_share:6.0%} {rules.pair_share:6.0%} {right / contaminated:8.2%}"
            f" {right / max(1, right + wrong):10.2%} {wrong:18}{'  (default)' * (rules == DEFAULT)}"
        )
    names = "".join(f"{rules.runs:>4}/{rules.pair_share:4.0%}" for rules in ordered)
    say(f"\nrows found, by kind {'':21} rows{names}")
    for kind, count in rows.items():
        mark = "*" if kind in HELD_OUT else " "
        say(f" {mark}{kind:38} {count:6}" + "".join(f"{hits[kind] / count:9.1%}" for hits in columns))
    say("* no threshold was chosen on it")


def texts_below(directory: Path) -> Iterator[Row]:
    for path in sorted(directory.rglob("*")):
        if path.suffix in SUFFIXES and path.is_file():
            words = path.read_text(encoding="utf-8", errors="replace").split(" ")
            for start in range(0, len(words), WORDS):
                yield talk("What does it say?", " ".join(words[start : start + WORDS]))


def measure_texts(answers: EvaluationAnswers, directories: Sequence[Path]) -> None:
    for directory in directories:
        rows = texts_below(directory)
        say(f"\n{directory}")
        while dataset := list(islice(rows, ROWS)):
            search = AnswerSearch(answers, DEFAULT)
            for line, row in enumerate(dataset, start=1):
                search.add(line, row, 0)
            found = search.found()
            size = sum(len(row.turns[-1].content) for row in dataset)
            say(f"  {len(dataset):6,} rows, {size / 1e6:6.1f} million characters: {len(found)} found")
            for each in found[:5]:
                text = dataset[each.line - 1].turns[-1].content
                say(f"    {each.share:.1%} of an answer of row {each.row}: {text[:70]!r}")


def measure_time(answers: EvaluationAnswers) -> None:
    rows = list(samples())
    size = sum(len(turn.content.encode()) for row in rows for turn in row.turns)
    times = 8 * MIB // size
    start = time.process_time()
    found_in(answers, rows * times, DEFAULT)
    spent = (time.process_time() - start) * 64 * MIB / (size * times)
    say(f"\n{spent:.2f} processor seconds a 64 MiB of ordinary text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--each", type=int, default=100, help="answers in each disguise (default 100)")
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="folders of honest texts")
    options = parser.parse_args()
    answers = EvaluationAnswers(evaluation_rows())
    measure(answers, options.each)
    measure_texts(answers, options.texts)
    measure_time(answers)


if __name__ == "__main__":
    main()
