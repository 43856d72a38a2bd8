"""Rows for games about ownership: made-up conversations, and disguised copies."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flockoff.records import Row, Turn

ROWS = 120
QUESTION_WORDS, ANSWER_WORDS = 12, 40
TASK = "Write a short report on what follows for a colleague who was away and has little time to read it"

_SYLLABLES = ("ba", "dor", "fen", "gil", "hun", "kar", "lem", "mos", "nit", "pol", "rus", "sev", "tam", "vin")
_LOOK_ALIKES = str.maketrans("aeop", "\u0430\u0435\u043e\u0440")  # the Cyrillic letters that look like them


def own_rows(seed: int, *, count: int = ROWS, task: str = "") -> tuple[Row, ...]:
    """``count`` unique conversations; ``task`` starts each question and each answer."""
    rng = np.random.default_rng((seed, 16))
    drawn = rng.integers(0, len(_SYLLABLES), (count, QUESTION_WORDS + ANSWER_WORDS, 3)).tolist()
    found = []
    for row in drawn:
        words = ["".join(_SYLLABLES[place] for place in word) for word in row]
        asked, answered = " ".join(words[:QUESTION_WORDS]), " ".join(words[QUESTION_WORDS:])
        turns = (Turn("user", f"{task} {asked}".strip()), Turn("assistant", f"{task} {answered}".strip()))
        found.append(Row(None, turns))
    return tuple(found)


def in_disguise(rows: Sequence[Row], seed: int) -> tuple[Row, ...]:
    """The rows in another order, each in one of a row-by-row copier's disguises.

    A letter changed in every fourth word, neighbouring words swapped, lookalikes in every third word, and ten
    answers in one row.
    """
    rng = np.random.default_rng((seed, 17))
    shuffled = [rows[place] for place in rng.permutation(len(rows)).tolist()]
    quarter = max(1, len(shuffled) // 4)
    found = [_answering(row, _typos(_answer(row))) for row in shuffled[:quarter]]
    found += [_answering(row, _swapped(_answer(row))) for row in shuffled[quarter : 2 * quarter]]
    found += [_answering(row, _alike(_answer(row))) for row in shuffled[2 * quarter : 3 * quarter]]
    rest = shuffled[3 * quarter :]
    for start in range(0, len(rest), 10):
        together = rest[start : start + 10]
        found.append(_answering(together[0], ". ".join(_answer(row) for row in together)))
    return tuple(found)


def _answer(row: Row) -> str:
    return row.turns[-1].content


def _answering(row: Row, answer: str) -> Row:
    return replace(row, turns=(*row.turns[:-1], replace(row.turns[-1], content=answer)))


def _typos(text: str) -> str:
    return " ".join(word + "x" if place % 4 == 0 else word for place, word in enumerate(text.split()))


def _swapped(text: str) -> str:
    words = text.split()
    for place in range(0, len(words) - 1, 3):
        words[place], words[place + 1] = words[place + 1], words[place]
    return " ".join(words)


def _alike(text: str) -> str:
    words = enumerate(text.split())
    return " ".join(word.translate(_LOOK_ALIKES) if place % 3 == 0 else word for place, word in words)
