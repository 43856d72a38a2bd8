"""The datasets of the local network's miners: good, less of it, noise, and a copy of the good one."""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

JsonRow = dict[str, Any]

# Of every eighteen sample conversations in turn five are the good dataset's, two the small one's, two noise's
# and two a sealed evaluation set's: few, so that all datasets are trained on in half a minute.
_CYCLE = 18
_GOOD = range(0, 5)
_SMALL = range(5, 7)
_NOISE = range(7, 9)
_SEALED = range(9, 11)


@dataclass(frozen=True, slots=True)
class SampleDataset:
    """``name`` is also the name of its Hub repo; ``about`` says in a few words what is in it."""

    name: str
    about: str
    path: Path


def write_sample_datasets(directory: Path) -> list[SampleDataset]:
    """Write the four datasets as JSONL files; returns them in the order in which to commit them."""
    rows = _conversations()
    good = _part(rows, _GOOD)
    datasets = [
        ("good", "good conversations", good),
        ("small", "good ones, but fewer", _part(rows, _SMALL)),
        ("noise", "shuffled answers to other questions", _with_foreign_answers(_part(rows, _NOISE))),
        ("copy", "the good dataset, rows reordered", good[::-1]),
    ]
    return [write_dataset(directory, *dataset) for dataset in datasets]


def write_dataset(directory: Path, name: str, about: str, rows: Iterable[JsonRow]) -> SampleDataset:
    path = directory / name / "data.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return SampleDataset(name, about, path)


def sealed_sample() -> list[JsonRow]:
    """Conversations that are in none of the datasets, for a sealed evaluation set."""
    return _part(_conversations(), _SEALED)


def _with_foreign_answers(rows: list[JsonRow]) -> list[JsonRow]:
    """The rows with each answer replaced by the words of the next answer in the file, in random order."""
    generator = random.Random(0)
    answers = [
        turn["content"] for row in rows for turn in row["conversations"] if turn["role"] == "assistant"
    ]
    following = iter(answers[1:] + answers[:1])

    def shuffled(answer: str) -> str:
        words = answer.split()
        generator.shuffle(words)
        return " ".join(words)

    return [
        {
            "system": row["system"],
            "conversations": [
                {"role": turn["role"], "content": shuffled(next(following))}
                if turn["role"] == "assistant"
                else turn
                for turn in row["conversations"]
            ],
        }
        for row in rows
    ]


def _conversations() -> list[JsonRow]:
    text = files("flockoff.localnet").joinpath("samples/conversations.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _part(rows: list[JsonRow], places: range) -> list[JsonRow]:
    return [row for index, row in enumerate(rows) if index % _CYCLE in places]
