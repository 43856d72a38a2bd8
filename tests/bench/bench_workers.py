"""Throughput of two single-threaded workers compared with one.

    python -m tests.bench workers
    python -m tests.bench workers --models smollm2 --rows 16 --datasets 6 --repeats 3

Both take turns in one run, on the same datasets under the same seed; the ratio is the median over the rounds
of what each round gave by itself. Losses are compared to the last bit. Time goes from the first dataset's
file to the last loss; starting workers and loading the base model are not in it. The ratio means something
only where nothing else takes the machine's time: two cores that are free are needed for two workers.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import median

from flockoff.competition import Competition, EvaluationSet, Limits, Training
from flockoff.dataset import content_hash, load_rows
from flockoff.training.evaluator import WorkerEvaluator
from flockoff.training.pool import WorkerPlan
from tests.bench.training.models import MODELS, model_directory, write_evaluation_rows, write_rows

SEED = 1
ONE_THREAD = WorkerPlan("cpu", 1)


@dataclass(frozen=True, slots=True)
class Round:
    seconds: float
    losses: tuple[float, ...]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def evaluator(model: Path, evaluation_file: Path, workers: int) -> WorkerEvaluator:
    competition = Competition(
        training=replace(Training(), epochs=1, warmup_steps=0),
        evaluation=EvaluationSet(sha256=sha256(evaluation_file.read_bytes()).hexdigest()),
    )
    return WorkerEvaluator(
        competition, model_dir=model, evaluation_file=evaluation_file, workers=[ONE_THREAD] * workers
    )


def play(evaluator: WorkerEvaluator, datasets: Sequence[Path]) -> Round:
    def measure(dataset: Path) -> float:
        hashed = content_hash(load_rows(dataset, Limits(), frozenset()))
        return evaluator.evaluate(
            dataset, hashed, SEED, tokens=1, on_progress=lambda _: None, should_stop=lambda: False
        ).loss

    begun = time.perf_counter()
    with ThreadPoolExecutor(evaluator.slots) as threads:
        losses = tuple(threads.map(measure, datasets))
    return Round(time.perf_counter() - begun, losses)


def compare(model: str, options: argparse.Namespace, scratch: Path) -> None:
    scratch.mkdir()
    directory = model_directory(model, scratch)
    evaluation_file = write_evaluation_rows(scratch / "evaluation.jsonl", options.evaluation_rows)
    datasets = [
        write_rows(scratch / f"{number}.jsonl", options.rows + number) for number in range(options.datasets)
    ]
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(closing(evaluator(directory, evaluation_file, workers))) for workers in (1, 2)
        )
        for each in (one, two):
            play(each, datasets[:2])  # starts the workers
        rounds = []
        for _ in range(options.repeats):
            rounds.append((play(one, datasets), play(two, datasets)))
            alone, together = rounds[-1]
            say(f"  one worker {alone.seconds:.1f} s, two {together.seconds:.1f} s")
    ratio = median(alone.seconds / together.seconds for alone, together in rounds)
    same = len({result.losses for pair in rounds for result in pair}) == 1
    say(
        f"  {model}: two workers do {ratio:.2f} times as much as one; "
        f"losses {'the same to the last bit' if same else 'DIFFER'}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rows", type=int, default=8, help="of the smallest dataset (default: 8)")
    parser.add_argument("--datasets", type=int, default=4, help="each a row larger (default: 4)")
    parser.add_argument("--evaluation-rows", type=int, default=4, help="default: 4")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="flockoff-bench-") as directory:
        for model in options.models:
            compare(model, options, Path(directory) / model)


if __name__ == "__main__":
    main()
