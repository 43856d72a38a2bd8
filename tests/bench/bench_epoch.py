"""Overhead around training in an epoch: idle device time and chain requests.

    python -m tests.bench epoch
    python -m tests.bench epoch --miners 8 64 254 --datasets 8 --rows 24

The first part evaluates datasets as a validator does, in as many threads as the evaluator has slots, on one
device. The worker reports how long it worked on each; for the rest of the time between the first one's start
and the last one's end, the device was idle. The second part runs an epoch on the local doubles of chain and
hub, with given losses, and counts the requests to the chain; meanwhile the validator also asks for the
chain's height, which depends on seconds and not on miners.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import median

from flockoff.competition import Competition, EvaluationSet, Limits, Training
from flockoff.dataset import content_hash, load_rows
from flockoff.records import Measurement
from flockoff.training.evaluator import WorkerEvaluator
from flockoff.validate import run_epochs
from tests.bench.training.models import MODELS, model_directory, write_evaluation_rows, write_rows
from tests.support.arena import running_arena

SEED = 1


@dataclass(frozen=True, slots=True)
class Queue:
    """``seconds`` from the first evaluation's beginning to the last one's end, ``worked`` by the worker."""

    seconds: float
    worked: float

    @property
    def idle(self) -> float:
        return 1 - self.worked / self.seconds


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def evaluate_queue(evaluator: WorkerEvaluator, datasets: Sequence[tuple[Path, str]]) -> Queue:
    def measure(dataset: tuple[Path, str]) -> tuple[Measurement, float]:
        file, hashed = dataset
        measured = evaluator.evaluate(
            file, hashed, SEED, tokens=1, on_progress=lambda _: None, should_stop=lambda: False
        )
        return measured, time.monotonic()

    with ThreadPoolExecutor(evaluator.slots) as threads:
        ended = list(threads.map(measure, datasets))
    begun = min(end - measured.seconds for measured, end in ended)
    return Queue(max(end for _, end in ended) - begun, sum(measured.seconds for measured, _ in ended))


def show_idle(options: argparse.Namespace, scratch: Path) -> None:
    model = model_directory(options.model, scratch)
    evaluation_file = write_evaluation_rows(scratch / "evaluation.jsonl", options.evaluation_rows)
    competition = Competition(
        training=replace(Training(), epochs=1, warmup_steps=0),
        evaluation=EvaluationSet(sha256=sha256(evaluation_file.read_bytes()).hexdigest()),
    )
    files = [
        write_rows(scratch / f"{number}.jsonl", options.rows + number) for number in range(options.datasets)
    ]
    datasets = [(file, content_hash(load_rows(file, Limits(), frozenset()))) for file in files]
    evaluator = WorkerEvaluator(competition, model_dir=model, evaluation_file=evaluation_file)
    with closing(evaluator):
        evaluate_queue(evaluator, datasets[:1])  # starts the worker
        queues = [evaluate_queue(evaluator, datasets) for _ in range(options.repeats)]
    for queue in queues:
        say(f"  {len(datasets)} datasets in {queue.seconds:.2f} s, of which worked {queue.worked:.2f} s")
    gap = median((queue.seconds - queue.worked) / (len(datasets) - 1) for queue in queues)
    idle = median(queue.idle for queue in queues)
    say(f"  {options.model}: {1000 * gap:.1f} ms between two evaluations; idle {100 * idle:.2f} %")


def count_requests(miners: int, directory: Path) -> int:
    """Of one epoch to the chain, by a validator that was there before."""
    with running_arena(directory, miners=miners, tempo=2000) as arena:
        for miner in range(miners):
            arena.submit(miner, f"topic-{miner}", loss=1.0 + miner / 1000)
        validator = arena.validator()
        arena.next_epoch()
        before, begun = sum(arena.node.requests.values()), time.monotonic()
        if not run_epochs(validator, 1):
            raise SystemExit("The epoch's weights were not set.")
        asked, seconds = sum(arena.node.requests.values()) - before, time.monotonic() - begun
        places = len(validator.ledger.verdicts(arena.epoch().start_block))
    say(f"  {miners:4} miners, {places:3} places: {asked} requests to the chain in {seconds:.1f} s")
    return asked


def main(arguments: Sequence[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--datasets", type=int, default=6, help="one after the other (default: 6)")
    parser.add_argument("--rows", type=int, default=16, help="of the smallest dataset (default: 16)")
    parser.add_argument("--evaluation-rows", type=int, default=4, help="default: 4")
    parser.add_argument("--repeats", type=int, default=5, help="of the queue (default: 5)")
    parser.add_argument("--miners", type=int, nargs="*", default=[8, 64, 254], help="default: 8 64 254")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="flockoff-bench-") as folder:
        scratch = Path(folder)
        if options.datasets > 1:
            show_idle(options, scratch)
        os.environ["HOME"] = folder  # the SDK keeps caches there
        for miners in options.miners:
            count_requests(miners, scratch / str(miners))


if __name__ == "__main__":
    main()
