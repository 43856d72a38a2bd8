"""How much does a loss vary with the seed alone, compared with the data?

``python -m tests.bench noise MODEL_DIR --out RESULTS.jsonl`` trains the base model (SmolLM2-135M, as
``flockoff demo`` leaves it in the cache) on the datasets of tests/support/graded_datasets.py under the seeds
1, 2, … and measures it, all through the validator's own evaluator. Each result is appended to RESULTS.jsonl
the moment it exists; started again, the bench goes on from there. At the end, or at once with ``--report``,
it prints the tables of .github/docs/noise.md. An evaluation takes about three minutes of one core.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from flockoff.competition import Competition, EvaluationSet, Training, load_competition
from flockoff.flags import PROJECT_ROOT
from flockoff.localnet.network import local_competition
from flockoff.records import Measurement, Progress
from flockoff.tokens import load_encoder
from flockoff.training.evaluator import WorkerEvaluator
from tests.support.graded_datasets import GRADES, NOISE, graded_datasets
from tests.support.noise_numbers import told
from tests.support.tiny_model import write_dataset


@dataclass(frozen=True)
class Job:
    """A dataset as a file, to be measured under a seed."""

    name: str
    seed: int
    file: Path
    content_hash: str
    tokens: int


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def rules(options: argparse.Namespace) -> Competition:
    """The main competition's arguments on the local one's base model, on fewer and shorter rows."""
    return dataclasses.replace(
        Competition(),
        base_model=load_competition(local_competition()).base_model,
        training=Training(context_length=options.context_length, learning_rate=options.learning_rate),
        evaluation=EvaluationSet(rows=options.evaluation_rows),
    )


def setup_name(competition: Competition, rows: int, hashes: Sequence[str]) -> str:
    """What results must have in common to be compared: rules and datasets."""
    text = f"{competition.training} {competition.lora} {competition.evaluation} {rows} {hashes}"
    return sha256(text.encode()).hexdigest()[:12]


def read(file: Path) -> list[dict[str, object]]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def silent(_progress: Progress) -> None: ...


def result_of(job: Job, setup: str, base: Measurement, measured: Measurement) -> dict[str, object]:
    return {
        "setup": setup,
        "dataset": job.name,
        "seed": job.seed,
        "base": base.loss,
        "loss": measured.loss,
        "steps": measured.steps,
        "train_tokens": measured.train_tokens,
        "eval_tokens": measured.eval_tokens,
        "seconds": round(measured.seconds, 1),
        "row_nll": measured.row_nll,
        "provenance": dataclasses.asdict(measured.provenance),
    }


def measure(options: argparse.Namespace) -> None:
    """Measure what is not in the file yet: all datasets under one seed before the next seed."""
    competition = rules(options)
    encoder = load_encoder(options.model_dir, options.context_length)
    datasets = graded_datasets(options.rows, competition.evaluation, encoder)
    with tempfile.TemporaryDirectory() as directory:
        files = {name: Path(directory, f"{place}.jsonl") for place, name in enumerate(datasets)}
        hashes = {name: write_dataset(files[name], rows) for name, rows in datasets.items()}
        tokens = {
            name: sum(len(row.input_ids) for row in encoder.encode(rows)) for name, rows in datasets.items()
        }
        setup = setup_name(competition, options.rows, list(hashes.values()))
        done = {(result["setup"], result["dataset"], result["seed"]) for result in read(options.out)}
        jobs = [
            Job(name, seed, files[name], hashes[name], tokens[name])
            for seed in options.seeds
            for name in options.datasets
            if (setup, name, seed) not in done
        ]
        say(f"setup {setup}: {len(jobs)} evaluations to make")
        with options.out.open("a", encoding="utf-8") as out:
            for result in results(options, competition, setup, jobs):
                out.write(json.dumps(result) + "\n")
                out.flush()


def results(
    options: argparse.Namespace, competition: Competition, setup: str, jobs: Sequence[Job]
) -> Iterator[dict[str, object]]:
    if not jobs:
        return
    evaluator = WorkerEvaluator(
        competition,
        model_dir=options.model_dir,
        evaluation_file=PROJECT_ROOT / "eval_data" / "data.jsonl",
        device="cpu",
        threads=options.threads,
    )
    try:
        base = evaluator.base_loss(on_progress=silent, should_stop=lambda: False)
        for job in jobs:
            measured = evaluator.evaluate(
                job.file,
                job.content_hash,
                job.seed,
                tokens=job.tokens,
                on_progress=silent,
                should_stop=lambda: False,
            )
            say(f"{job.seed} {job.name}: {measured.loss / base.loss - 1:+.3%}, {measured.seconds:.0f} s")
            yield result_of(job, setup, base, measured)
    finally:
        evaluator.close()


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=range(1, 11), metavar="SEED")
    parser.add_argument("--datasets", nargs="+", choices=[*GRADES, NOISE], default=[*GRADES, NOISE])
    parser.add_argument("--rows", type=int, default=48, help="of each dataset")
    parser.add_argument("--evaluation-rows", type=int, default=64)
    parser.add_argument(
        "--context-length", type=int, default=160, help="tokens: of longer rows the rest is cut off"
    )
    parser.add_argument("--learning-rate", type=float, default=Training().learning_rate)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--report", action="store_true", help="measure nothing more")
    options = parser.parse_args()
    if not options.report:
        measure(options)
    for line in told(read(options.out), Competition().scoring):
        say(line)


if __name__ == "__main__":
    main()
