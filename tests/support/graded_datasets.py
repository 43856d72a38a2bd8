"""Five datasets from good to harmful for the evaluation set, from local material, the same every time."""

import pydoc_data.topics
import random
import textwrap
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice
from pathlib import Path

from flockoff.competition import EvaluationSet, Limits
from flockoff.dataset import load_rows
from flockoff.flags import PROJECT_ROOT
from flockoff.ports import RowEncoder
from flockoff.records import Row, Turn
from tests.support.tiny_model import row

# The share of rows that are of the evaluation set's kind; the others are public text.
GRADES = {"best": 1.0, "good": 0.5, "slightly good": 1 / 6, "public": 0.0}
NOISE = "noise"
_MIN_ANSWER_TOKENS = 40
_PUBLIC_CHARACTERS = 500


def graded_datasets(rows: int, evaluation: EvaluationSet, encoder: RowEncoder) -> dict[str, list[Row]]:
    """Datasets of ``rows`` rows each by name, best first; no two have a row in common.

    What is of the evaluation set's kind comes from the rows of that file which ``evaluation`` leaves out, and
    from the local network's samples, both written by the same hand. Public text is Python's own reference.
    Noise has the first kind's questions, and other rows' answers with their words shuffled. All rows have
    some assistant tokens within the encoder's context.
    """
    kindred = iter(_kindred(evaluation, encoder))
    public = _public()
    datasets = {}
    for name, share in GRADES.items():
        of_kind = round(rows * share)
        datasets[name] = [*_take(of_kind, kindred), *_take(rows - of_kind, public)]
    datasets[NOISE] = _with_shuffled_answers(_take(rows, kindred))
    return datasets


def _take(count: int, rows: Iterator[Row]) -> list[Row]:
    taken = list(islice(rows, count))
    if len(taken) < count:
        raise ValueError("there is not enough material for datasets of that size")
    return taken


def _kindred(evaluation: EvaluationSet, encoder: RowEncoder) -> list[Row]:
    evaluation_file = PROJECT_ROOT / "eval_data" / "data.jsonl"
    samples = Path(str(files("flockoff.localnet").joinpath("samples", "conversations.jsonl")))
    rows = [
        *load_rows(evaluation_file, Limits(), encoder.special_tokens)[evaluation.rows :],
        *load_rows(samples, Limits(), encoder.special_tokens),
    ]
    encoded = encoder.encode(rows)
    enough = [
        each
        for each, tokens in zip(rows, encoded, strict=True)
        if sum(tokens.assistant) >= _MIN_ANSWER_TOKENS
    ]
    random.Random(0).shuffle(enough)
    return enough


def _public() -> Iterator[Row]:
    """Python's reference in pieces, one of every topic in turn."""
    topics = {
        topic: textwrap.wrap(text, _PUBLIC_CHARACTERS) for topic, text in pydoc_data.topics.topics.items()
    }
    for part in range(max(map(len, topics.values()))):
        for topic, pieces in sorted(topics.items()):
            if part < len(pieces) and len(pieces[part]) > _PUBLIC_CHARACTERS // 2:
                yield row(f"What does Python's reference say of {topic}? Part {part + 1}.", pieces[part])


def _with_shuffled_answers(rows: list[Row]) -> list[Row]:
    generator = random.Random(0)
    answers = [turn.content.split() for each in rows for turn in each.turns if turn.role == "assistant"]
    following = iter(answers[1:] + answers[:1])

    def shuffled(turn: Turn) -> Turn:
        if turn.role == "user":
            return turn
        words = next(following)
        generator.shuffle(words)
        return Turn("assistant", " ".join(words))

    return [Row(each.system, tuple(shuffled(turn) for turn in each.turns)) for each in rows]
