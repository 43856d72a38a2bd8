"""Copies row by row: what an author of a small script does to somebody's rows, and honest rows that are near.

``DISGUISES`` are those that the thresholds were chosen on; ``HELD_OUT`` were written afterwards.
"""

import inspect
import random
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType

from flockoff.dataset.words import words_of
from flockoff.records import Row, Turn
from tests.support.near_copies import conversations, with_answers

Disguise = Callable[[Sequence[Row]], list[Row]]

_CYRILLIC = str.maketrans("aeopcxyi", "аеорсхуі")  # noqa: RUF001
_ACCENTS = str.maketrans("aeioucn", "áëîõüçñ")
_LEET = str.maketrans("aeost", "43057")
_LIBRARIES = ("argparse", "decimal", "fractions", "pathlib", "random", "statistics", "tarfile", "zipfile")


def _talk(answer: str, prompt: str = "Go on.") -> Row:
    return Row(None, (Turn("user", prompt), Turn("assistant", answer)))


def answer_of(row: Row) -> str:
    return "\n".join(turn.content for turn in row.turns if turn.role == "assistant")


@cache
def vocabulary() -> list[str]:
    """Words as they come in people's text, of four letters and more."""
    every = [word for row in conversations() for word in re.findall(r"[a-z]{4,}", answer_of(row))]
    return sorted(set(every))


def own_text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(vocabulary(), k=words))


def sentences(text: str) -> list[str]:
    return [each for each in re.split(r"(?<=[.!?:;])\s+|\n+", text) if each.strip()]


def by_words(change: Callable[[int, str, random.Random], str]) -> Disguise:
    """Each word of each answer changed by its place, from 1."""

    def all_of(rows: Sequence[Row]) -> list[Row]:
        draw = random.Random(3)
        return with_answers(
            rows,
            lambda text: " ".join(
                change(place, word, draw) for place, word in enumerate(text.split(), start=1)
            ),
        )

    return all_of


def every(count: int, change: Callable[[str, random.Random], str]) -> Disguise:
    return by_words(lambda place, word, draw: change(word, draw) if place % count == 0 else word)


def by_chance(share: float, change: Callable[[str, random.Random], str]) -> Disguise:
    return by_words(lambda _, word, draw: change(word, draw) if draw.random() < share else word)


def _other(_: str, draw: random.Random) -> str:
    return draw.choice(vocabulary())


def _typo(word: str, draw: random.Random) -> str:
    place = draw.randrange(max(1, len(word) - 1))
    return word[:place] + word[place : place + 2][::-1] + word[place + 2 :]


def _neighbours_swapped(rows: Sequence[Row]) -> list[Row]:
    def change(text: str) -> str:
        mine = text.split()
        return " ".join(
            word for start in range(0, len(mine), 2) for word in reversed(mine[start : start + 2])
        )

    return with_answers(rows, change)


def _merged(rows: Sequence[Row], count: int = 10) -> list[Row]:
    texts = [answer_of(row) for row in rows]
    return [_talk("\n\n".join(texts[start : start + count])) for start in range(0, len(texts), count)]


def _a_sentence_a_row(rows: Sequence[Row]) -> list[Row]:
    return [_talk(each) for row in rows for each in sentences(answer_of(row))]


def _turns_of(count: int) -> Disguise:
    def cut(row: Row) -> Row:
        mine = answer_of(row).split()
        pieces = [" ".join(mine[start : start + count]) for start in range(0, len(mine), count)]
        return Row(
            None, tuple(turn for each in pieces for turn in (Turn("user", "go on"), Turn("assistant", each)))
        )

    return lambda rows: [cut(row) for row in rows]


def _sentences_reordered(rows: Sequence[Row]) -> list[Row]:
    draw = random.Random(5)
    return with_answers(rows, lambda text: " ".join(draw.sample(mine := sentences(text), len(mine))))


def _padded(words: int) -> Disguise:
    draw = random.Random(6)
    return lambda rows: with_answers(rows, lambda t: f"{own_text(draw, words)}. {t} {own_text(draw, words)}.")


def _dealt(rows: Sequence[Row]) -> list[Row]:
    """All sentences over all rows, five a row."""
    every_one = [each for row in rows for each in sentences(answer_of(row))]
    random.Random(7).shuffle(every_one)
    return [_talk(" ".join(every_one[start : start + 5])) for start in range(0, len(every_one), 5)]


def _in_turn(rows: Sequence[Row]) -> list[Row]:
    """Two rows' sentences in turn."""
    told = []
    for first, second in zip(rows[::2], rows[1::2], strict=False):
        one, other = sentences(answer_of(first)), sentences(answer_of(second))
        mixed = [each for pair in zip(one, other, strict=False) for each in pair]
        told.append(_talk(" ".join([*mixed, *one[len(other) :], *other[len(one) :]])))
    return told


def _half_in_the_prompt(rows: Sequence[Row]) -> list[Row]:
    def cut(row: Row) -> Row:
        mine = answer_of(row).split()
        return _talk(" ".join(mine[len(mine) // 2 :]), " ".join(mine[: len(mine) // 2]))

    return [cut(row) for row in rows]


def _as_a_list(rows: Sequence[Row]) -> list[Row]:
    return with_answers(
        rows, lambda t: "\n".join(f"{n}. **{s}**" for n, s in enumerate(sentences(t), start=1))
    )


def _content(change: Callable[[str, random.Random], str], count: int) -> Disguise:
    def all_of(rows: Sequence[Row]) -> list[Row]:
        draw = random.Random(8)

        def one(text: str) -> str:
            place, told = 0, []
            for word in text.split():
                place += len(word) > 3
                told.append(change(word, draw) if len(word) > 3 and place % count == 0 else word)
            return " ".join(told)

        return with_answers(rows, one)

    return all_of


DISGUISES: dict[str, Disguise] = {
    "typo in every 3rd word": every(3, _typo),
    "typo in a word of 5, by chance": by_chance(0.2, _typo),
    "neighbouring words swapped": _neighbours_swapped,
    "ten rows in one answer": _merged,
    "a sentence a row": _a_sentence_a_row,
    "look-alikes in every 3rd word": every(3, lambda word, _: word.translate(_CYRILLIC)),
    "turns of 4 words": _turns_of(4),
    "sentences reordered": _sentences_reordered,
    "30 words before and after": _padded(30),
    "every 4th word replaced": every(4, _other),
    "every 3rd word replaced": every(3, _other),
    "a word of 3 replaced, by chance": by_chance(1 / 3, _other),
    "every 2nd content word replaced": _content(_other, 2),
    "every 2nd word replaced": every(2, _other),
    "accents and zero width": every(1, lambda word, _: "\u200b".join(word.translate(_ACCENTS))),
    "leet and hyphens": every(
        1, lambda word, _: f"{word[:3]}-{word[3:]}".translate(_LEET) if len(word) > 5 else word
    ),
    "words in reverse": lambda rows: with_answers(rows, lambda text: " ".join(reversed(text.split()))),
}
HELD_OUT: dict[str, Disguise] = {
    "a word of one's own after every 2nd": by_words(
        lambda n, w, d: f"{w} {d.choice(vocabulary())}" if n % 2 == 0 else w
    ),
    "every 3rd word dropped": every(3, lambda _word, _draw: ""),
    "two rows' sentences in turn": _in_turn,
    "all sentences dealt over all rows": _dealt,
    "first half in the prompt": _half_in_the_prompt,
    "as a numbered list": _as_a_list,
    "other endings": every(
        1, lambda word, d: word[: max(4, len(word) - 3)] + d.choice(["ing", "ed", "s", "ly"])
    ),
    "100 words before and after": _padded(100),
    "three rows in one, every 4th word replaced": lambda rows: every(4, _other)(_merged(rows, 3)),
    "a sentence a row, every 5th word replaced": lambda rows: _a_sentence_a_row(every(5, _other)(rows)),
    "words in fours, each four reversed": lambda rows: with_answers(
        rows,
        lambda t: " ".join(w for s in range(0, len(t.split()), 4) for w in reversed(t.split()[s : s + 4])),
    ),
    "turns of 2 words": _turns_of(2),
    "written as one, by capitals": lambda rows: with_answers(
        rows, lambda text: "".join(re.sub(r"\W", "", word).capitalize() for word in text.split())
    ),
    "words joined by hyphens": lambda rows: with_answers(rows, lambda text: "-".join(text.split())),
    "tags within words": every(1, lambda word, _: f"{word[:3]}<b></b>{word[3:]}"),
    "asterisks within words": every(1, lambda word, _: f"{word[:3]}*{word[3:]}"),
    "entities for spaces": lambda rows: with_answers(rows, lambda text: "&nbsp;".join(text.split())),
}


# --- honest rows -------------------------------------------------------------------------------------------


def _documented(module: ModuleType) -> Iterator[str]:
    for name in sorted(vars(module)):
        one = vars(module)[name]
        if not (inspect.isclass(one) or inspect.isfunction(one)):
            continue
        members = [vars(one)[each] for each in sorted(vars(one))] if inspect.isclass(one) else []
        for text in (inspect.getdoc(each) for each in (one, *members)):
            if text and len(text.split()) >= 12:
                yield text


def windows(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """Every run of ``length`` words, in order."""
    return zip(*(words[start:] for start in range(length)), strict=False)


def docstrings(libraries: Sequence[str] = _LIBRARIES) -> list[Row]:
    """Some libraries' authors, one form, one task; of those that share a run of eight words the first."""
    told: list[Row] = []
    known: set[tuple[str, ...]] = set()
    for library in libraries:
        for text in _documented(import_module(library)):
            runs = {*windows(words_of(text), 8)}
            if not runs & known:
                told.append(_talk(text, "Describe this."))
            known |= runs
    return told


def letters_to(first: int, count: int) -> list[Row]:
    """One author's template of a letter, filled in with names, things and numbers."""
    draw = random.Random(first)
    names, things = (
        ["Ann", "Bo", "Cy", "Dee", "Eve", "Flo", "Gus", "Hal", "Ida", "Jo", "Kit", "Lee"],
        vocabulary(),
    )

    def one() -> str:
        a, b, c, d = draw.sample(things, 4)
        return (
            f"Dear {draw.choice(names)}, thank you for your order {draw.randrange(10**6)} of {a} and {b}. We"
            f" are sorry that the parcel with the {c} arrived late, on day {draw.randrange(300)}, and will"
            f" refund {draw.randrange(99)} euros within five working days. As for the {d}, our colleague"
            f" {draw.choice(names)} will call you tomorrow before noon. Kind regards, your service team"
        )

    return [_talk(one(), f"Write to customer {draw.randrange(10**6)}.") for _ in range(count)]


def sums(first: int, count: int) -> list[Row]:
    """Worked arithmetic: one form of answer, other numbers."""
    draw = random.Random(first)

    def one() -> Row:
        a, b, c = (draw.randrange(10, 1000) for _ in range(3))
        return _talk(
            f"First multiply {a} by {b}, which gives {a * b}. Then add {c} to the product: {a * b} plus"
            f" {c} is {a * b + c}. So the final answer is {a * b + c}.",
            f"What is {a} * {b} + {c}? Explain each step.",
        )

    return [one() for _ in range(count)]


def labelled(first: int, count: int) -> list[Row]:
    """One long instruction, inputs of some 30 words of their own, and a label in answer."""
    draw = random.Random(first)
    instruction = (
        "Read the following review of a product with care. Decide whether its author is on the whole"
        " satisfied or not, and answer with a single word, positive or negative, and nothing else at all."
    )
    return [
        _talk(draw.choice(["Positive.", "Negative."]), f"{instruction}\n\n{own_text(draw, 30)}")
        for _ in range(count)
    ]


def _halves(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    mixed = random.Random(9).sample(rows, len(rows))
    return mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]


# Two honest datasets each that have much in common but no row: one's authors, templates and tasks.
HONEST: dict[str, Callable[[], tuple[list[Row], list[Row]]]] = {
    "conversations": lambda: _halves(conversations()),
    "docstrings of one language": lambda: ((docs := docstrings())[: len(docs) // 2], docs[len(docs) // 2 :]),
    "letters from one template": lambda: (letters_to(1, 400), letters_to(2, 400)),
    "sums": lambda: (sums(1, 400), sums(2, 400)),
    "labels to one instruction": lambda: (labelled(1, 400), labelled(2, 400)),
    "a squatter's three letters": lambda: (letters_to(1, 400), letters_to(2, 3)),
    "a squatter's three sums": lambda: (sums(1, 400), sums(2, 3)),
    "a squatter's three labels": lambda: (labelled(1, 400), labelled(2, 3)),
}
