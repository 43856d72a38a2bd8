"""Seconds per miner, MFU and memory: the usual subnet code, stock TRL, and ours.

    python -m tests.bench training
    python -m tests.bench training --quick
    python -m tests.bench training --models qwen2 --rows 32 --steps 8 --dropout 0 --json result.json

Each pipeline (tests/bench/training/pipelines.py) is a process of its own, and they take turns, so that a
machine that is slower for a while is so for all of them. All make the same optimizer steps from the same
rows. In each round the machine's best matrix products are measured too. All numbers are medians over the
rounds: of the ratio to the naive pipeline and of the MFU, which is the seconds that the useful operations
(flockoff/planner/flops.py) take at the peak of their precision divided by the seconds they took, the medians
of what each round gave by itself.
Time goes from the dataset's file to the loss. Each pipeline has done the same once before, uncounted, so that
loading of what stays loaded, and getting memory that stays, are not in it.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

from flockoff.competition import Competition, EvaluationSet, Lora, Training
from flockoff.dataset import load_rows
from flockoff.planner.flops import Load, evaluation_flops, training_flops
from flockoff.planner.model import read_size
from flockoff.tokens import load_encoder
from flockoff.training.messages import Assignment
from tests.bench.training.contestant import Contestant, start
from tests.bench.training.models import MODELS, model_directory, write_evaluation_rows, write_rows

Rounds = list[dict[str, dict[str, Any]]]  # of each round, each pipeline's result

LEARNERS = ("naive", "trl", "ours")
IN_BFLOAT16 = "ours-bf16"
PEAKS = "gemm"


@dataclass(frozen=True, slots=True)
class Task:
    """One model, one dataset, and what that asks for."""

    assignment: Assignment
    dataset: Path
    training: int  # operations
    evaluation: int
    tokens: int  # of one pass
    evaluation_tokens: int


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def rules(options: argparse.Namespace, evaluation_file: Path) -> Competition:
    """FLock OFF's own rules, with as many passes as make ``--steps`` optimizer steps.

    Without warm-up: its first step would leave the loss as it was.
    """
    training = Training()
    passes, rest = divmod(options.steps * training.rows_per_step, options.rows)
    if rest or passes < 1:
        raise SystemExit(f"{options.steps} steps of {training.rows_per_step} rows are no whole passes.")
    return Competition(
        lora=Lora(dropout=options.dropout),
        training=replace(training, epochs=passes, warmup_steps=0),
        evaluation=EvaluationSet(sha256=sha256(evaluation_file.read_bytes()).hexdigest()),
    )


def task_of(model: str, options: argparse.Namespace, scratch: Path) -> Task:
    scratch.mkdir()
    directory = model_directory(model, scratch)
    evaluation_file = write_evaluation_rows(scratch / "evaluation.jsonl", options.evaluation_rows)
    competition = rules(options, evaluation_file)
    encoder = load_encoder(directory, competition.training.context_length)

    def load(file: Path) -> Load:
        rows = encoder.encode(load_rows(file, competition.limits, encoder.special_tokens))
        return Load.of((len(row.input_ids), sum(row.assistant)) for row in rows)

    dataset = write_rows(scratch / "data.jsonl", options.rows)
    trained, evaluated = load(dataset), load(evaluation_file)
    size = read_size(directory)
    return Task(
        assignment=Assignment(
            competition=competition,
            model_dir=str(directory),
            evaluation_file=str(evaluation_file),
            device=None,
            threads=options.threads,
        ),
        dataset=dataset,
        training=training_flops(size, competition, trained),
        evaluation=evaluation_flops(size, competition, evaluated),
        tokens=trained.tokens,
        evaluation_tokens=evaluated.tokens,
    )


def play(task: Task, repeats: int, seed: int, scratch: Path) -> Rounds:
    """Let the pipelines take turns; without bfloat16 where the device can only imitate it."""
    with ExitStack() as stack:

        def contestant(name: str) -> Contestant:
            return stack.enter_context(start(name, task.assignment, scratch / f"{name}.log"))

        contestants = {name: contestant(name) for name in (PEAKS, *LEARNERS)}
        first = {name: one.ask(task.dataset, seed) for name, one in contestants.items()}
        if first[PEAKS]["bfloat16"] > first[PEAKS]["float32"]:
            contestants[IN_BFLOAT16] = contestant(IN_BFLOAT16)
            contestants[IN_BFLOAT16].ask(task.dataset, seed)
        else:
            say("  Products in bfloat16 are slower here than in float32: they are left out.")
        rounds: Rounds = []
        for _ in range(repeats):
            rounds.append({name: one.ask(task.dataset, seed) for name, one in contestants.items()})
            taken = {name: one["seconds"] for name, one in rounds[-1].items() if name != PEAKS}
            say("  " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in taken.items()))
        return rounds


def at_peak(task: Task, results: Mapping[str, Mapping[str, Any]], name: str) -> float:
    """The seconds of the pipeline ``name``, if it did useful operations only, as fast as the device can."""
    peaks = results[PEAKS]
    bfloat16 = "training bfloat16" in results[name].get("precision", "")
    training: float = task.training / peaks["bfloat16" if bfloat16 else "float32"]
    evaluation: float = task.evaluation / peaks["float32"]
    return training + evaluation


def summary(name: str, task: Task, rounds: Rounds) -> dict[str, float | str]:
    return {
        "pipeline": name,
        "seconds": median(one[name]["seconds"] for one in rounds),
        "cpu": median(one[name]["cpu"] for one in rounds),
        "speed": median(one[LEARNERS[0]]["seconds"] / one[name]["seconds"] for one in rounds),
        "mfu": median(at_peak(task, one, name) / one[name]["seconds"] for one in rounds),
        "memory": max(one[name]["memory"] for one in rounds),
        "loss": rounds[-1][name]["loss"],
        "precision": rounds[-1][name].get("precision", "float32"),
    }


def show(task: Task, rounds: Rounds, summaries: Sequence[Mapping[str, Any]]) -> None:
    best = {kind: median(one[PEAKS][kind] for one in rounds) for kind in ("float32", "bfloat16")}
    say(
        f"  {task.tokens} tokens a pass, {task.assignment.competition.training.epochs} passes, "
        f"{task.evaluation_tokens} tokens of evaluation: {task.training / 1e12:.2f} and "
        f"{task.evaluation / 1e12:.2f} TFLOP. Peak: "
        + ", ".join(f"{value / 1e9:.0f} GFLOP/s in {kind}" for kind, value in best.items())
    )
    say("| pipeline | s | CPU s | speed | MFU | GiB | loss | precision |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in summaries:
        say(
            f"| {one['pipeline']} | {one['seconds']:.2f} | {one['cpu']:.1f} | {one['speed']:.2f} "
            f"| {one['mfu']:.2f} | {one['memory'] / 2**30:.2f} | {one['loss']:.7f} | {one['precision']} |"
        )


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rows", type=int, default=8, help="of the dataset (default: 8)")
    parser.add_argument("--steps", type=int, default=1, help="optimizer steps of 8 rows (default: 1)")
    parser.add_argument("--evaluation-rows", type=int, default=2, help="default: 2")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--dropout", type=float, default=0.1, help="of the adapter (default: 0.1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="default: PyTorch's")
    parser.add_argument("--quick", action="store_true", help="one round only, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every round's numbers here")
    options = parser.parse_args(arguments)
    if options.quick:
        options.repeats = 1
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    told = []
    with tempfile.TemporaryDirectory(prefix="flockoff-bench-") as directory:
        for model in options.models:
            scratch = Path(directory) / f"bench-{model}"
            say(model)
            task = task_of(model, options, scratch)
            rounds = play(task, options.repeats, options.seed, scratch)
            summaries = [summary(name, task, rounds) for name in rounds[0] if name != PEAKS]
            show(task, rounds, summaries)
            told.append(
                {
                    "model": model,
                    "training": task.training,
                    "evaluation": task.evaluation,
                    "summary": summaries,
                    "rounds": rounds,
                }
            )
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
