"""Which cheap figure predicts what a group of rows is worth? Predicted against measured gains of groups.

``python -m tests.bench influence [MODEL_DIR]`` makes a dataset of six groups of rows (two of the evaluation
set's kind, two of public text, one with shuffled answers, one of random letters) and measures what each is
worth: the loss after training without it, less the loss after training on all, under the validator's own
session. Beside it stand three predictions, each with its rank correlation and what it costs:

- ``trained``: the influence of its rows at the trained adapter, what ``flockoff score --rows`` shows;
- ``start``: the same before any training;
- ``alone``: how far training on the group alone lowers the base model's loss.

MODEL_DIR: SmolLM2-135M, as ``flockoff demo`` leaves it in the cache, with ``--local`` (four groups, one of
which harms, under the local competition: some five minutes of a core a seed), or with
``--context-length 96`` and ``--learning-rate 5e-4`` (some ten minutes of two cores a seed). Without it: a
tiny model of random weights and one token a byte, some seconds a seed. Gains of different seeds are averaged.
"""

import argparse
import dataclasses
import random
import string
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flockoff.competition import Competition, EvaluationSet, Limits, Training, load_competition
from flockoff.dataset import load_rows
from flockoff.flags import PROJECT_ROOT
from flockoff.localnet.network import local_competition
from flockoff.localnet.sample_data import write_sample_datasets
from flockoff.records import EncodedRow, Progress, Row
from flockoff.training.influence import row_influence
from flockoff.training.messages import Assignment, Request
from flockoff.training.rows import write_rows
from flockoff.training.session import Session
from tests.support.graded_datasets import NOISE, graded_datasets
from tests.support.tiny_model import row, write_tiny_model

Groups = Mapping[str, Sequence[EncodedRow]]
METHODS = ("trained", "start", "alone")


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def silent(_progress: Progress) -> None: ...


def rules(options: argparse.Namespace) -> Competition:
    """The local competition's, or the main one's arguments on its base model, on fewer and shorter rows."""
    if options.local:
        return load_competition(local_competition())
    return dataclasses.replace(
        Competition(),
        base_model=load_competition(local_competition()).base_model,
        training=Training(context_length=options.context_length, learning_rate=options.learning_rate),
        evaluation=EvaluationSet(rows=options.evaluation_rows),
    )


def local_groups(session: Session, folder: Path) -> dict[str, Sequence[EncodedRow]]:
    """Of the demo's datasets: good rows in two groups, rows that harm, and random letters."""
    texts = {
        each.name: load_rows(each.path, Limits(), session.encoder.special_tokens)
        for each in write_sample_datasets(folder)
    }
    half = len(texts["good"]) // 2
    good = {"good 1": texts["good"][:half], "good 2": texts["good"][half:]}
    rows = good | {"other questions' answers": texts["noise"], "random letters": letters(len(texts["noise"]))}
    return {name: session.encoder.encode(each) for name, each in rows.items()}


def letters(size: int) -> list[Row]:
    """Rows of nothing but random letters."""
    generator = random.Random(0)
    words = ["".join(generator.choices(string.ascii_letters, k=6)) for _ in range(60 * size)]
    return [
        row(f"What comes after {number}?", " ".join(words[number * 60 : number * 60 + 60]))
        for number in range(size)
    ]


def groups_of(session: Session, size: int) -> dict[str, Sequence[EncodedRow]]:
    graded = graded_datasets(2 * size, session.competition.evaluation, session.encoder)
    texts: dict[str, list[Row]] = {}
    for name, grade in (("kindred", "best"), ("public", "public")):
        texts[f"{name} 1"], texts[f"{name} 2"] = graded[grade][:size], graded[grade][size:]
    texts["shuffled answers"] = graded[NOISE][:size]
    texts["random letters"] = letters(size)
    return {name: session.encoder.encode(rows) for name, rows in texts.items()}


def loss_of(session: Session, groups: Groups, seed: int, folder: Path) -> float:
    rows = [each for group in groups.values() for each in group]
    write_rows(rows, folder / "rows.npz")
    return session.measure(Request(str(folder / "rows.npz"), seed), silent).loss


def predicted(session: Session, groups: Groups, seed: int, folder: Path) -> dict[str, list[float]]:
    """Each group's influence at the trained adapter and at the untrained one."""
    rows = [each for group in groups.values() for each in group]
    write_rows(rows, folder / "rows.npz")
    begun = time.process_time()
    trained = session.influence(Request(str(folder / "rows.npz"), seed, influence=True), silent).rows
    say(f"influence, trained: {time.process_time() - begun:.0f} processor seconds")
    session.model.adapters.reset(seed)
    start = row_influence(session.model, rows, session.evaluation_set, lambda done, total: None)
    session.model.adapters.clear()
    places = np.repeat(np.arange(len(groups)), [len(group) for group in groups.values()])
    return {
        name: np.bincount(places, values).tolist()
        for name, values in (("trained", trained), ("start", start))
    }


def ranks(values: Sequence[float]) -> np.ndarray:
    return np.argsort(np.argsort(values))


def correlations(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Of the ranks, and of the values."""
    by_rank = np.corrcoef(ranks(one), ranks(other))[0, 1]
    return float(by_rank), float(np.corrcoef(one, other)[0, 1])


def bench(options: argparse.Namespace) -> None:
    everything: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        model_dir = options.model_dir or write_tiny_model(folder / "model")
        evaluation_file = PROJECT_ROOT / "eval_data" / "data.jsonl"
        session = Session.load(
            Assignment(rules(options), str(model_dir), str(evaluation_file), "cpu", options.threads)
        )
        base = session.measure(Request(), silent).loss
        groups = local_groups(session, folder) if options.local else groups_of(session, options.rows)
        for seed in options.seeds:
            begun = time.process_time()
            whole = loss_of(session, groups, seed, folder)
            say(f"seed {seed}: {whole / base - 1:+.3%}, {time.process_time() - begun:.0f} processor seconds")
            found = predicted(session, groups, seed, folder)
            found["alone"] = [
                1 - loss_of(session, {name: rows}, seed, folder) / base for name, rows in groups.items()
            ]
            found["measured"] = [
                loss_of(session, {other: groups[other] for other in groups if other != name}, seed, folder)
                / whole
                - 1
                for name in groups
            ]
            for method, values in found.items():
                everything.setdefault(method, []).append(values)
    means = {method: np.mean(values, axis=0).tolist() for method, values in everything.items()}
    tokens = [sum(sum(each.assistant) for each in rows) for rows in groups.values()]
    say("| group | answer tokens | measured gain | trained, a token | start, a token | alone |")
    say("| --- | ---: | ---: | ---: | ---: | ---: |")
    for place, name in enumerate(groups):
        a_token = [means[method][place] / tokens[place] for method in ("trained", "start")]
        say(
            f"| {name} | {tokens[place]} | {means['measured'][place]:+.3%} | {a_token[0]:+.3f} | "
            f"{a_token[1]:+.3f} | {means['alone'][place]:+.3%} |"
        )
    for method in METHODS:
        by_rank, by_value = correlations(means[method], means["measured"])
        say(f"{method}: correlation of ranks {by_rank:+.2f}, of values {by_value:+.2f}")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model_dir", type=Path, nargs="?")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="SEED")
    parser.add_argument("--local", action="store_true", help="the local competition and the demo's datasets")
    parser.add_argument("--rows", type=int, default=8, help="of each group")
    parser.add_argument("--evaluation-rows", type=int, default=32)
    parser.add_argument(
        "--context-length", type=int, default=384, help="tokens: of longer rows the rest is cut off"
    )
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=None)
    bench(parser.parse_args())


if __name__ == "__main__":
    main()
