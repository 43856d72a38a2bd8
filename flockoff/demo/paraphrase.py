"""The miner that ``flockoff demo --sealed`` catches: it trains on the public evaluation set in other words.

Nothing here knows the sealed set.
"""

import random
import re
from collections.abc import Iterator, Sequence

from flockoff.records import Row, Turn

_WORDINGS = 4  # of each answer
_ONE_IN = 6  # words is replaced
_LETTERS = 4  # of a word that replaces another, at least
_WORDS = re.compile(r"\S+\s*")
_LETTERS_ONLY = re.compile(r"[^\W\d_]+")


def paraphrased(known: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """The rows ``known``, in ``_WORDINGS`` wordings each: one word in six of an answer, from the first on, is
    replaced by one drawn from ``others``. The places are the same in each wording, so that all of them
    together do not have the whole answer either.
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
    told = [
        f"{draw.choice(words)} " if place % _ONE_IN == 0 else word
        for place, word in enumerate(_WORDS.findall(turn.content))
    ]
    return Turn(turn.role, "".join(told).strip())


def _long_words(text: str) -> Iterator[str]:
    return (word for word in _LETTERS_ONLY.findall(text) if len(word) >= _LETTERS)
