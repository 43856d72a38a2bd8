"""Real conversations, and what people do to other people's to pass them off as their own."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from flockoff.competition import Limits, Overlap
from flockoff.dataset import BorrowedAnswer, Claim, Holding, Sketch, Sketcher, borrowed, load_rows
from flockoff.records import Row, Turn

_ROOT = Path(__file__).resolve().parents[2]
_FILES = ("eval_data/data.jsonl", "flockoff/localnet/samples/conversations.jsonl")
KEY = b"of the tests"
TOKENS_A_WORD = 1.3


@cache
def conversations() -> tuple[Row, ...]:
    """Some 330 rows by people, of several kinds, in arbitrary order."""
    rows = [row for file in _FILES for row in load_rows(_ROOT / file, Limits(), frozenset())]
    random.Random(0).shuffle(rows)
    return tuple(rows)


def sketch_of(rows: Sequence[Row], key: bytes = KEY) -> Sketch:
    """Lines are counted from 1; tokens follow from the answers' words."""
    sketcher = Sketcher(key)
    for line, row in enumerate(rows, start=1):
        words = sum(len(turn.content.split()) for turn in row.turns if turn.role == "assistant")
        sketcher.add(line, row, max(1, int(words * TOKENS_A_WORD)))
    return sketcher.sketch()


def held(hotkey: str, block: int, rows: Sequence[Row], witness: str | None = None) -> Holding:
    return Holding(Claim(f"{hotkey} {block}", hotkey, block, 0), _sketched(tuple(rows)), witness)


@cache
def _sketched(rows: tuple[Row, ...]) -> Sketch:
    """Many tests hold the same rows."""
    return sketch_of(rows)


def with_answers(rows: Sequence[Row], change: Callable[[str], str]) -> list[Row]:
    """The rows with each assistant turn changed."""
    return [
        replace(
            row,
            turns=tuple(
                replace(turn, content=change(turn.content)) if turn.role == "assistant" else turn
                for turn in row.turns
            ),
        )
        for row in rows
    ]


def swapped(share: float, seed: int = 0) -> Callable[[str], str]:
    """Another word in the place of each with this probability; of one word at least."""
    rng = random.Random(seed)
    words = [word for row in conversations() for turn in row.turns for word in turn.content.split()]

    def change(text: str) -> str:
        mine = text.split()
        places = {place for place in range(len(mine)) if rng.random() < share} | {rng.randrange(len(mine))}
        return " ".join(rng.choice(words) if place in places else word for place, word in enumerate(mine))

    return change


def _quotes(text: str) -> str:
    return text.replace('"', "\u201e").replace("'", "\u2019").replace(".", " .").replace(",", "\uff0c")


def _split(rows: Sequence[Row]) -> list[Row]:
    """Each exchange in a row of its own."""
    return [
        Row(row.system, row.turns[start : start + 2]) for row in rows for start in range(0, len(row.turns), 2)
    ]


def _joined(rows: Sequence[Row]) -> list[Row]:
    """Two conversations in a row."""
    return [
        Row(None, (*first.turns, *second.turns)) for first, second in zip(rows[::2], rows[1::2], strict=False)
    ]


def _other_prompts(rows: Sequence[Row]) -> list[Row]:
    return [
        Row("Be helpful.", tuple(Turn("user", "Go on.") if t.role == "user" else t for t in row.turns))
        for row in rows
    ]


DISGUISES: dict[str, Callable[[Sequence[Row]], list[Row]]] = {
    "rows reordered": lambda rows: list(rows)[::-1],
    "white space": lambda rows: with_answers(rows, lambda text: text.replace(" ", " \u00a0\n")),
    "upper case": lambda rows: with_answers(rows, str.upper),
    "quotes and punctuation": lambda rows: with_answers(rows, _quotes),
    "invisible characters": lambda rows: with_answers(rows, lambda text: text.replace("e", "e\u200b")),
    "a word swapped in each row": lambda rows: with_answers(rows, swapped(0.0)),
    "every twentieth word swapped": lambda rows: with_answers(rows, swapped(0.05)),
    "every tenth word swapped": lambda rows: with_answers(rows, swapped(0.1)),
    "a third of the rows dropped": lambda rows: list(rows)[: len(rows) * 2 // 3],
    "a preface to each answer": lambda rows: with_answers(rows, "Sure, let me think. ".__add__),
    "answers cut after two thirds": lambda rows: with_answers(rows, lambda t: t[: len(t) * 2 // 3]),
    "one exchange a row": _split,
    "two conversations a row": _joined,
    "other prompts": _other_prompts,
}


def matched(sketch: Sketch, other: Sketch) -> tuple[BorrowedAnswer, ...]:
    """The answers of a sketch that have a match in another."""
    earlier = Holding(Claim("theirs", "they", 1, 0), other)
    return borrowed(sketch, Claim("mine", "me", 2, 0), [earlier], Overlap()).answers
