"""The cheat that ``flockoff demo --sealed`` catches: training on the public evaluation set, reworded.

Nothing here knows the sealed set.
"""

import random
import re
from collections.abc import Iterator, Sequence

from flockoff.records import Row, Turn

_WORDINGS = 3  # of each answer
_EVERY = 6  # one word in so many is replaced
_LETTERS = 4  # minimum length of a replacement
_WORDS = re.compile(r"\S+\s*")
_LETTERS_ONLY = re.compile(r"[^\W\d_]+")


def paraphrased(known: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """The rows ``known`` in ``_WORDINGS`` wordings each: every sixth word of an answer, starting with the
    first, is replaced by one drawn from ``others``. Each wording replaces the same ones, so that even all
    wordings together lack part of the answer.
    """
    draw = random.Random(0)
    words = sorted({word for row in others for turn in row.turns for word in _long_words(turn.content)})
    return [
        Row(row.system, tuple(_reworded(turn, words, draw) for turn in row.turns))
        for _ in range(_WORDINGS)
        for row in known
    ]


def _reworded(turn: Turn, words: Sequence[str], draw: random.Random) -> Turn:
    if turn.role != "assistant":
        return turn
    words_now = [
        f"{draw.choice(words)} " if place % _EVERY == 0 else word
        for place, word in enumerate(_WORDS.findall(turn.content))
    ]
    return Turn(turn.role, "".join(words_now).strip())


def _long_words(text: str) -> Iterator[str]:
    return (word for word in _LETTERS_ONLY.findall(text) if len(word) >= _LETTERS)
