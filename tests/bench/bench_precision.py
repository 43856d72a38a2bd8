"""The effect of lower training precision on the differences between datasets, and what it saves.

    python -m tests.bench precision
    python -m tests.bench precision --rows 48 --epochs 2 --stored float32 --json result.json

SmolLM2-135M is trained on three datasets (tests/support/graded_datasets.py) under each policy (weights in
memory, products of training), under the same seed. What is measured afterwards is in float32 in any case. A
policy is fit where what it moves a loss by, against float32, is far below the gaps between datasets: the
last column is the smallest gap divided by the largest such move. Memory is the planner's count for the
competition's longest rows.

The base model's weights are rounded to bfloat16 first, as Qwen2.5's and most others' are published;
``--stored float32`` leaves them as they are, and shows what products in bfloat16 then do.
"""

import argparse
import gc
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from flockoff.competition import Competition, EvaluationSet, Training
from flockoff.records import EncodedRow
from flockoff.tokens import load_encoder
from flockoff.training.data import evaluation_rows
from flockoff.training.device import Dtypes, choose_device, compute_exactly, training_memory
from flockoff.training.loss import row_losses
from flockoff.training.model import load_model
from flockoff.training.trainer import trained_adapter
from tests.bench.training.models import model_directory, write_evaluation_rows
from tests.support.graded_datasets import graded_datasets

EXACT = "float32"
POLICIES = {
    EXACT: Dtypes(torch.float32, torch.float32),
    "bfloat16 products": Dtypes(torch.float32, torch.bfloat16),
    "bfloat16 weights": Dtypes(torch.bfloat16, torch.bfloat16),
}
NAMES = ("good", "slightly good", "noise")


@dataclass(frozen=True, slots=True)
class Measured:
    """One policy: the losses by dataset, the base model's as "none"; CPU seconds of training a step."""

    losses: dict[str, float]
    seconds: float
    memory: int


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def measure(
    directory: Path,
    competition: Competition,
    dtypes: Dtypes,
    datasets: Mapping[str, Sequence[EncodedRow]],
    evaluation: Sequence[EncodedRow],
    options: argparse.Namespace,
) -> Measured:
    model = load_model(directory, competition, choose_device(None), dtypes=dtypes)
    losses = {"none": row_losses(model, evaluation, lambda done: None).mean}
    seconds, steps = 0.0, 0
    for name, rows in datasets.items():
        begun = time.process_time()
        with trained_adapter(model, rows, competition, options.seed, lambda *_: None) as made:
            seconds, steps = seconds + time.process_time() - begun, steps + made
            losses[name] = row_losses(model, evaluation, lambda done: None).mean
        say(f"  {name}: {losses[name]:.6f} after {made} steps")
    full = replace(competition, training=Training())  # whose rows are longer
    return Measured(losses, seconds / steps, training_memory(directory, full, dtypes).recomputed)


def rounded(directory: Path, target: Path) -> Path:
    """A copy of the model whose weights are stored in bfloat16."""
    shutil.copytree(directory, target)
    network = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    network.save_pretrained(target)
    return target


def show(results: Mapping[str, Measured]) -> None:
    say(
        f"{'policy':20}"
        + "".join(f"{name:>15}" for name in ("none", *NAMES))
        + "   CPU s/step    GiB   gap/move"
    )
    exact = results[EXACT]
    for policy, one in results.items():
        losses = "".join(f"{one.losses[name]:15.6f}" for name in ("none", *NAMES))
        gap = min(abs(exact.losses[a] - exact.losses[b]) for a, b in combinations(NAMES, 2))
        move = max(abs(one.losses[name] - exact.losses[name]) for name in NAMES)
        ratio = f"{gap / move:11.0f}" if move else f"{'-':>11}"
        say(f"{policy:20}{losses}{one.seconds:13.2f}{one.memory / 2**30:7.2f}{ratio}")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rows", type=int, default=72, help="of a dataset (default: 72)")
    parser.add_argument("--epochs", type=int, default=6, help="passes over it (default: 6, so 54 steps)")
    parser.add_argument("--context", type=int, default=112, help="tokens of a row (default: 112)")
    parser.add_argument("--evaluation-rows", type=int, default=32, help="default: 32")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--stored", choices=("float32", "bfloat16"), default="bfloat16", help="the weights")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="default: PyTorch's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    compute_exactly(options.threads)
    results: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="flockoff-bench-") as scratch:
        directory = model_directory("smollm2", Path(scratch))
        if options.stored == "bfloat16":
            directory = rounded(directory, Path(scratch) / "rounded")
        file = write_evaluation_rows(Path(scratch) / "evaluation.jsonl", options.evaluation_rows)
        competition = Competition(
            training=Training(context_length=options.context, epochs=options.epochs),
            evaluation=EvaluationSet(
                sha256=sha256(file.read_bytes()).hexdigest(), rows=options.evaluation_rows
            ),
        )
        encoder = load_encoder(directory, options.context)
        graded = graded_datasets(options.rows, competition.evaluation, encoder)
        datasets = {name: encoder.encode(graded[name]) for name in NAMES}
        evaluation = evaluation_rows(file, competition, encoder)
        for policy in dict.fromkeys([EXACT, *options.policies]):
            say(policy)
            results[policy] = measure(directory, competition, POLICIES[policy], datasets, evaluation, options)
            gc.collect()
    show(results)
    if options.json:
        options.json.write_text(
            json.dumps({name: one.losses for name, one in results.items()}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
