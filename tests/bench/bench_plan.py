"""The planner's accuracy: by tokens, as in a forecast, and by operations, as on paper.

    python -m tests.bench plan
    python -m tests.bench plan --model qwen2 --repeats 5

Datasets of different shapes take turns. What each takes is then predicted from the others alone: from their
seconds a token, as a validator does before an epoch (flockoff/planner/forecast.py), and from their operations
a second, as ``flockoff plan`` does (flockoff/planner/flops.py). The memory that training added to the process
is compared with flockoff/planner/memory.py.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import median

import psutil
import torch

from flockoff.competition import Competition, EvaluationSet, Training
from flockoff.planner.flops import Load, evaluation_flops, training_flops
from flockoff.planner.forecast import measured_pace
from flockoff.planner.memory import memory_need
from flockoff.planner.model import ModelSize, read_size
from flockoff.records import EncodedRow, Measurement
from flockoff.training.messages import Assignment, Request
from flockoff.training.rows import write_rows
from flockoff.training.session import Session
from tests.bench.training.contestant import peak_memory
from tests.bench.training.models import MODELS, model_directory, sample_rows, write_evaluation_rows
from tests.bench.training.pipelines import peak

SHAPES = ((8, 64), (8, 128), (24, 64), (4, 384))  # rows, and tokens of each


@dataclass(frozen=True, slots=True)
class Dataset:
    name: str
    file: Path
    load: Load


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def rows_of(count: int, length: int, texts: Sequence[EncodedRow]) -> list[EncodedRow]:
    """Rows cut from real conversations, one behind the other."""
    tokens = [token for text in texts for token in text.input_ids]
    counts = [one for text in texts for one in text.assistant]
    repeats = -(-count * length // len(tokens))
    tokens, counts = tokens * repeats, counts * repeats
    parts = [slice(row * length, (row + 1) * length) for row in range(count)]
    return [EncodedRow(tuple(tokens[part]), tuple(counts[part])) for part in parts]


def load_of(rows: Sequence[EncodedRow]) -> Load:
    return Load.of((len(row.input_ids), sum(row.assistant)) for row in rows)


def session_for(model: str, evaluation_rows: int, scratch: Path) -> tuple[Session, ModelSize]:
    directory = model_directory(model, scratch)
    evaluation = write_evaluation_rows(scratch / "evaluation.jsonl", evaluation_rows)
    competition = Competition(
        training=replace(Training(), epochs=1),
        evaluation=EvaluationSet(sha256=sha256(evaluation.read_bytes()).hexdigest()),
    )
    return Session.load(Assignment(competition, str(directory), str(evaluation))), read_size(directory)


def datasets(session: Session, scratch: Path) -> list[Dataset]:
    texts = session.encoder.encode(sample_rows())
    found = []
    for count, length in SHAPES:
        rows = rows_of(count, length, texts)
        file = scratch / f"{count}x{length}.npz"
        write_rows(rows, file)
        found.append(Dataset(f"{count} x {length}", file, load_of(rows)))
    return found


def measure(session: Session, request: Request) -> Measurement:
    with redirect_stdout(sys.stderr):  # what libraries print
        return session.measure(request, lambda progress: None)


def middle(measurements: Sequence[Measurement]) -> Measurement:
    """Each of them, with the median of its seconds."""
    return replace(measurements[0], seconds=median(one.seconds for one in measurements))


def compare(
    base: Measurement, taken: Mapping[str, Measurement], operations: Mapping[str, int], rate: float
) -> None:
    """``operations``: of each dataset, with its evaluation. ``rate``: the peak, in operations a second."""
    say("| rows x tokens | s | MFU | forecast | error | on paper | error |")
    say("| --- | --- | --- | --- | --- | --- | --- |")
    for name, one in taken.items():
        others = [other for other in taken if other != name]
        pace = measured_pace(base, [taken[other] for other in others])
        assert pace is not None, "training takes longer than none"
        told = pace.seconds(one.train_tokens)
        reached = median(operations[other] / taken[other].seconds for other in others)
        paper = operations[name] / reached
        share = operations[name] / one.seconds / rate
        say(
            f"| {name} | {one.seconds:.2f} | {share:.2f} | {told:.2f} | {told / one.seconds - 1:+.1%} "
            f"| {paper:.2f} | {paper / one.seconds - 1:+.1%} |"
        )


def compare_memory(session: Session, size: ModelSize, loads: Sequence[Load], before: int) -> None:
    weights, compute = session.model.head.dtype.itemsize, session.model.compute.itemsize
    need = memory_need(size, session.competition, weight_bytes=weights, compute_bytes=compute)
    step = session.competition.training.rows_per_step
    most = max(min(load.tokens // load.rows * step, load.tokens) for load in loads)
    kept = min(most, session.model.kept_tokens)
    told = need.fixed - weights * size.parameters + kept * need.token
    added = peak_memory() - before
    say(
        f"Memory that training adds, passes of {kept} tokens: {added / 2**30:.2f} GiB; "
        f"told: {told / 2**30:.2f} ({told / added - 1:+.0%})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", choices=MODELS, default="smollm2")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--evaluation-rows", type=int, default=2, help="default: 2")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="flockoff-bench-") as directory:
        scratch = Path(directory)
        session, size = session_for(options.model, options.evaluation_rows, scratch)
        before = psutil.Process().memory_info().rss
        known = datasets(session, scratch)
        rounds: list[dict[str, Measurement]] = []
        bases, peaks = [], []
        for seed in range(options.repeats):
            peaks.append(peak(session.model.compute, session.model.device))
            bases.append(measure(session, Request()))
            rounds.append({one.name: measure(session, Request(str(one.file), seed)) for one in known})
    rules = session.competition
    evaluation = evaluation_flops(size, rules, load_of(session.evaluation_set))
    say(f"{options.model}, {session.device}, peak {median(peaks) / 1e9:.0f} GFLOP/s, {torch.__version__}")
    compare(
        middle(bases),
        {one.name: middle([each[one.name] for each in rounds]) for one in known},
        {one.name: training_flops(size, rules, one.load) + evaluation for one in known},
        median(peaks),
    )
    compare_memory(session, size, [one.load for one in known], before)


if __name__ == "__main__":
    main()
