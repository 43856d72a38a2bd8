"""The labelled set for contamination: answers of the evaluation set in disguise, and honest rows beside them.

The honest rows are as near to the evaluation set as honest rows come: its questions with other answers, its
formats with other contents, short phrases of its answers in texts of one's own, other people's conversations
on the same topics, and what everybody quotes.
"""

import inspect
import json
import re
import string
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from flockoff.competition import Limits
from flockoff.dataset import load_rows
from flockoff.records import Row, Turn

_ROOT = Path(__file__).resolve().parents[2]
_EVALUATION = _ROOT / "eval_data" / "data.jsonl"
_SAMPLES = _ROOT / "flockoff" / "localnet" / "samples" / "conversations.jsonl"

_UNSPACED = "\u3040-\u30ff\u3400-\u9fff"
_WORDS = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)")
_SENTENCES = re.compile(r"(?:[^.!?\n\u3002\uff01\uff1f]|[.!?](?=\S))+[.!?\u3002\uff01\uff1f\n]*\s*")


@dataclass(frozen=True, slots=True)
class Case:
    """Rows that are to be found, all of them, or none of them."""

    kind: str
    rows: tuple[Row, ...]


@cache
def evaluation_rows() -> tuple[Row, ...]:
    return tuple(load_rows(_EVALUATION, Limits(), frozenset()))


@cache
def samples() -> tuple[Row, ...]:
    """Conversations by people, none of them in the evaluation set."""
    return tuple(load_rows(_SAMPLES, Limits(), frozenset()))


@cache
def evaluation_answers() -> tuple[str, ...]:
    return tuple(turn.content for row in evaluation_rows() for turn in row.turns if turn.role == "assistant")


def words(text: str) -> list[str]:
    """With the white space before each; what is written without spaces, letter by letter."""
    return _WORDS.findall(text)


def sentences(text: str) -> list[str]:
    return _SENTENCES.findall(text)


def talk(*contents: str, system: str | None = None) -> Row:
    turns = [Turn("assistant" if place % 2 else "user", text) for place, text in enumerate(contents)]
    return Row(system, tuple(turns))


@cache
def _vocabulary() -> tuple[str, ...]:
    """Words of the conversations in ``samples``, as often as they come."""
    return tuple(word.strip() for row in samples() for turn in row.turns for word in words(turn.content))


@cache
def _own_sentences() -> tuple[str, ...]:
    texts = [turn.content for row in samples() for turn in row.turns if turn.role == "assistant"]
    return tuple(each.strip() for text in texts for each in sentences(text) if len(each.split()) > 4)


def _own_text(draw: Random, count: int) -> str:
    return " ".join(draw.choice(_own_sentences()) for _ in range(count))


def _words_of_prompt(row: Row) -> list[str]:
    prompt = row.turns[0].content
    long = [word for word in re.findall(r"[^\W\d_]+", prompt) if len(word) > 4]
    return long or prompt.split()


# --- contaminated -----------------------------------------------------------------------------------------

Disguise = Callable[[str, Random], list[Row]]


def _answering(change: Callable[[str, Random], str]) -> Disguise:
    """The changed answer, under a prompt that is not its own."""
    return lambda answer, draw: [talk(draw.choice(_PROMPTS), change(answer, draw))]


_PROMPTS = ("Go on.", "What do you think?", "Tell me something I do not know.", "Please continue our work.")


def _redressed(answer: str, _: Random) -> str:
    return "\n".join(word.strip().strip(string.punctuation) for word in words(answer.upper()))


def _other_marks(answer: str, _: Random) -> str:
    plain = re.sub(r"[*`#|>_-]+", " ", answer)
    return plain.translate(str.maketrans("\"',.:", "\u201e\u2019\u2013\u2026;"))


def _invisible(answer: str, draw: Random) -> str:
    wide = [chr(ord(c) + 0xFEE0) if "!" <= c <= "~" and draw.random() < 0.5 else c for c in answer]
    return "".join(c + draw.choice(["", "", "\u200b", "\u00ad", "\u0336", "\u2060"]) for c in wide)


def _look_alikes(answer: str, draw: Random) -> str:
    alike = dict(zip("aceopxyijsABEKMHOPCTX", "асеорхуіјѕАВЕКМНОРСТХ", strict=True))  # noqa: RUF001
    return "".join(alike.get(c, c) if draw.random() < 0.7 else c for c in answer)


def _swapped(share: float) -> Callable[[str, Random], str]:
    def change(answer: str, draw: Random) -> str:
        return "".join(
            f" {draw.choice(_vocabulary())}" if draw.random() < share else word for word in words(answer)
        )

    return change


def _dropped(answer: str, draw: Random) -> str:
    return "".join(word for word in words(answer) if draw.random() >= 0.1)


def _filled(answer: str, draw: Random) -> str:
    fillers = (" well,", " actually", " you know,", " really")
    return "".join(
        word + (draw.choice(fillers) if place % 8 == 7 else "") for place, word in enumerate(words(answer))
    )


def _half(answer: str, _: Random) -> str:
    parts = words(answer)
    return "".join(parts[: (len(parts) + 1) // 2])


def _shuffled(answer: str, draw: Random) -> str:
    parts = sentences(answer)
    draw.shuffle(parts)
    return " ".join(parts)


def _surrounded(answer: str, draw: Random) -> str:
    return f"{_own_text(draw, 40)}\n\n{answer}\n\n{_own_text(draw, 40)}"


def _mixed(answer: str, draw: Random) -> str:
    """Its sentences between those of one's own."""
    return " ".join(f"{part} {_own_text(draw, 1)}" for part in sentences(answer))


def _over_turns(answer: str, draw: Random) -> list[Row]:
    parts = words(answer)
    pieces = ["".join(parts[start : start + 8]) for start in range(0, len(parts), 8)]
    contents = [draw.choice(_PROMPTS), *pieces]
    return [talk(*contents, *([] if len(contents) % 2 == 0 else ["Yes."]))]


def _over_answers(answer: str, draw: Random) -> list[Row]:
    """The assistant says it twelve words at a time."""
    parts = words(answer)
    pieces = ["".join(parts[start : start + 12]) for start in range(0, len(parts), 12)]
    return [talk(*(text for piece in pieces for text in (draw.choice(_PROMPTS), piece)))]


def _over_rows(answer: str, draw: Random) -> list[Row]:
    parts = words(answer)
    size = -(-len(parts) // 3)
    pieces = ["".join(parts[start : start + size]) for start in range(0, len(parts), size)]
    return [talk(draw.choice(_PROMPTS), f"{_own_text(draw, 2)} {piece}") for piece in pieces]


def _is_content(word: str) -> bool:
    return sum(map(str.isalpha, word)) > 3


def _other_word(draw: Random) -> str:
    """With a space before it; one of four letters and more."""
    return " " + draw.choice([word for word in _vocabulary()[:2000] if _is_content(word)])


def _every_word(count: int) -> Callable[[str, Random], str]:
    def change(answer: str, draw: Random) -> str:
        parts = enumerate(words(answer), start=1)
        return "".join(_other_word(draw) if place % count == 0 else word for place, word in parts)

    return change


every_fourth_word = _every_word(4)


def _content_words(replace: Callable[[int, Random], bool]) -> Callable[[str, Random], str]:
    """Replaces content words, by their number and chance."""

    def change(answer: str, draw: Random) -> str:
        place, told = 0, []
        for word in words(answer):
            place += _is_content(word)
            told.append(_other_word(draw) if _is_content(word) and replace(place, draw) else word)
        return "".join(told)

    return change


def _a_letter_in_24(answer: str, draw: Random) -> str:
    place, told = 0, []
    for character in answer:
        place += character.isalnum()
        is_its_turn = character.isalnum() and place % 23 == 0
        told.append(draw.choice("etaoinsrh") if is_its_turn else character)
    return "".join(told)


def _leet_and_hyphens(answer: str, draw: Random) -> str:
    """And every fifth word is another."""
    leet = str.maketrans("aeostAEOST", "43057@3057")
    told = []
    for place, word in enumerate(words(answer), start=1):
        middle = len(word) // 2 + 1
        broken = f"{word[:middle]}-{word[middle:]}" if len(word) > 6 and word.strip().isalpha() else word
        told.append(_other_word(draw) if place % 5 == 0 else broken.translate(leet))
    return "".join(told)


def _accents_and_typos(answer: str, draw: Random) -> str:
    """Vowels with marks; in every third word two letters change places."""
    marked = str.maketrans("aeiou", "\u00e5\u00e9\u00ee\u00f6\u00fb")
    told = []
    for place, word in enumerate(words(answer)):
        at = draw.randrange(2, max(3, len(word) - 1))
        if place % 3 == 0 and len(word) > 4:
            word = word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
        told.append(word.translate(marked))
    return "".join(told)


def _local_order(answer: str, draw: Random) -> str:
    """Each four words in another order."""
    parts = answer.split()
    groups = [parts[start : start + 4] for start in range(0, len(parts), 4)]
    return " ".join(word for group in groups for word in draw.sample(group, len(group)))


def _telegram(answer: str, _: Random) -> str:
    """Content words, and nothing else."""
    return ", ".join(word.strip() for word in words(answer) if _is_content(word))


def _endings(answer: str, draw: Random) -> str:
    """Other endings, other small words, and every sixth word gone."""
    small = {
        "the": "a",
        "a": "the",
        "is": "was",
        "are": "were",
        "it": "this",
        "you": "we",
        "and": "or",
        "to": "for",
    }
    told = []
    for place, word in enumerate(words(answer), start=1):
        plain = word.strip().lower()
        if place % 6 == 0:
            continue
        ending = draw.choice(["s", "ed", "ing"]) if plain.isalpha() and len(plain) > 6 else ""
        told.append(f" {small[plain]}" if plain in small else word + ending)
    return "".join(told)


def _diluted(answer: str, draw: Random) -> str:
    """A content word of one's own after every second."""
    parts = enumerate(words(answer))
    return "".join(word + (_other_word(draw) if place % 2 else "") for place, word in parts)


def _some_sentences(answer: str, draw: Random) -> str:
    """Every second sentence, with a word in six replaced."""
    kept = sentences(answer)[::2]
    return _every_word(6)(" ".join(kept), draw)


def _interleaved(answer: str, draw: Random) -> str:
    """In turn with another answer of the set, six words of each."""
    parts = [words(answer), words(draw.choice(evaluation_answers()))]
    longest = max(map(len, parts))
    return " ".join("".join(each[start : start + 6]) for start in range(0, longest, 6) for each in parts)


_BY_HAND = {
    10: "Five weeks would be the earliest if you go up 10 percent every time: 20 km now, then 22, 24.2,"
    " 26.6, 29.3 and 30 in week five. I would rather take seven and repeat the distances of weeks 2 and"
    " 4 before the next increase. The lungs may tell you it is not necessary, but tendons and shins"
    " adapt slower, and they only complain when it is too late. Put the extra kilometres into easy runs"
    " and leave your fast session.",
    27: "Finding: matched with similar households that had none, those who got the free audit of their home"
    " energy consumed 4.1% less electricity during three years; the plausible range goes from 1.2 to"
    " 7.0%. Catch: these were volunteers, perhaps keener on saving than the matches in a way not"
    " captured by income, size or past use, and every one lives in a single coastal county.",
    35: "First run one empty cycle, then switch off the machine so it can cool. Press the two tabs, take"
    " the cover off and pull out the old filter, straight. Put back the rubber ring, insert your new"
    " filter, and replace the cover; it should click. Switch on the power, hold the button five seconds,"
    " and the light is reset. Whether the ring comes out with the filter or stays in the machine, the"
    " text does not say.",
    46: "Your message has the better summary already, in its second half: you run a warehouse for an"
    " importer of tiles, with fourteen people and lots of breakable, heavy boxes, and within two years"
    " picking errors were brought from 3% down to 0.6%, so of five mistakes four never reach the"
    " customer now. Add a sentence about how it was done (a second check, new labels, other shelves), as"
    " recruiters will ask that.",
    55: "It happened several times; the closure that began in the June war of 1967 was the longest and"
    " lasted until June 1975, eight years. In the middle of the canal, fourteen ships got stuck on the"
    " Great Bitter Lake. The crews held regattas in their lifeboats, formed an association and printed"
    " stamps of their own. The decks were covered by desert sand, hence the name Yellow Fleet.",
    73: "That is fair! You will get your 15% voucher by email. One question: was it something full and dark"
    " you wanted, just without a bonfire? In that case a Keemun or an Assam suits, the first a little"
    " softer with its hint of cocoa. If it was something unusual, a roasted oolong is toasty, not smoky."
    " Start with the smallest bag whichever you choose; unopened it may come back for 30 days.",
    74: "It is too hard for a supplier whom you like, because your threat arrives before there was a chance"
    " to answer. Drop the ultimatum but keep the fact: Marta, of yesterday's delivery six of the twenty"
    " boxes arrived damaged, see the photos attached. This never happened with you before, and I want to"
    " understand what went wrong. Could the six be replaced by next Wednesday, and what will you change"
    " in packing?",
    105: "With 3:2 you have five parts in 7.5 L, which makes each part 1.5 L: 4.5 L are blue, 3 L are"
    " yellow. To match the blue for 1:1, yellow has to be 4.5 L, so another 1.5 L of yellow must be"
    " added. In all you end up with 9 L, and should check the bucket can hold that. The last half litre"
    " is better added gradually, because the eye is quick to notice a shift to green.",
}
"""By the evaluation set's row, from 1: its last answer told again, without looking at how that is found."""


def paraphrased_by_hand() -> Iterator[Case]:
    for text in _BY_HAND.values():
        yield Case("paraphrased by hand", (talk("Go on.", text),))


DISGUISES: dict[str, Disguise] = {
    "another prompt": _answering(lambda answer, _: answer),
    "case, punctuation, line ends": _answering(_redressed),
    "quotes and markup": _answering(_other_marks),
    "invisible, wide, struck through": _answering(_invisible),
    "look-alike letters": _answering(_look_alikes),
    "letters spaced out": _answering(lambda answer, _: " ".join(answer)),
    "in the prompt": lambda answer, draw: [talk(f"Is this good? {answer}", _own_text(draw, 3))],
    "inside a long text": _answering(_surrounded),
    "over turns, 8 words each": _over_turns,
    "over answers, 12 words each": _over_answers,
    "a third in each of three rows": _over_rows,
    "its first half": _answering(_half),
    "sentences in another order": _answering(_shuffled),
    "sentences between one's own": _answering(_mixed),
    "a filler after every 8 words": _answering(_filled),
    "a word in 10 dropped": _answering(_dropped),
    "a word in 10 swapped": _answering(_swapped(0.1)),
    "a word in 5 swapped": _answering(_swapped(0.2)),
    "a word in 3 swapped": _answering(_swapped(0.33)),
    "every 4th word swapped": _answering(_every_word(4)),
    "every 3rd word swapped": _answering(_every_word(3)),
    "every 2nd content word replaced": _answering(_content_words(lambda place, _: place % 2 == 0)),
    "a letter in 24 changed": _answering(_a_letter_in_24),
    "words in reverse": _answering(lambda answer, _: " ".join(reversed(answer.split()))),
}
HELD_OUT: dict[str, Disguise] = {
    "leet, hyphens, every 5th word swapped": _answering(_leet_and_hyphens),
    "accents, every 3rd word mistyped": _answering(_accents_and_typos),
    "each four words in another order": _answering(_local_order),
    "content words only": _answering(_telegram),
    "other endings, every 6th word dropped": _answering(_endings),
    "a word of one's own after every 2nd": _answering(_diluted),
    "every 2nd sentence, 6th word swapped": _answering(_some_sentences),
    "in turn with another answer": _answering(_interleaved),
}
"""Disguises of other kinds, on which no threshold was chosen."""

BEYOND: dict[str, Disguise] = {
    "half of the content words swapped": _answering(_content_words(lambda _, draw: draw.random() < 0.5)),
    "every 2nd word swapped": _answering(_every_word(2)),
}
"""What is found in part."""


def positives(disguises: dict[str, Disguise], each: int, seed: int = 0) -> Iterator[Case]:
    """``each`` different answers in every disguise."""
    draw = Random(seed)
    for kind, disguise in disguises.items():
        for answer in draw.sample(evaluation_answers(), each):
            yield Case(kind, tuple(disguise(answer, draw)))


# --- honest -----------------------------------------------------------------------------------------------

Honest = Callable[[Row, Random], Row]
_LONGEST_PHRASE = 40  # characters; a few "words" of a table or an address can be all of it

_REMARKS = (
    "Start with {0}, and leave {1} for later.",
    "It depends on {0}: with {1} there is less to gain than most people think.",
    "I would not worry about {0}. What matters more is {1}, and that can wait until tomorrow.",
    "There are two ways. One goes by {0}, the other by {1}; both take about a week.",
    "Nobody can say for sure, but {0} and {1} have little to do with each other.",
    "In short: {0} first, {1} second.",
    "Here is a short version. {0} is the reason, {1} is only what you see of it.",
    "That is a good question. The usual answer names {0}; I think that {1} explains more.",
    "You can do it in ten minutes if you have {0} at hand. Without {1} it takes longer.",
)


def _other_answer(row: Row, draw: Random) -> str:
    of_prompt = _words_of_prompt(row)
    remarks = draw.sample(_REMARKS, draw.randint(2, 5))
    return " ".join(each.format(draw.choice(of_prompt), draw.choice(of_prompt)) for each in remarks)


def _same_question(row: Row, draw: Random) -> Row:
    return talk(row.turns[0].content, _other_answer(row, draw), system=row.system)


def _question_reworded(row: Row, draw: Random) -> Row:
    asked = words(row.turns[0].content)
    kept = "".join(word for word in asked if draw.random() > 0.15)
    ask = draw.choice(
        ["Quick one: {}", "{} Thanks in advance!", "My neighbour wants to know: {}", "{} Any idea?"]
    )
    return talk(ask.format(kept), _other_answer(row, draw))


def _question_quoted(row: Row, draw: Random) -> Row:
    quoted = " ".join(turn.content for turn in row.turns if turn.role == "user")
    return talk("Repeat what I asked, then answer.", f'You asked: "{quoted}". {_other_answer(row, draw)}')


def _same_format(row: Row, draw: Random) -> Row:
    """An answer's layout and short words; every longer word and every number is another."""

    def other(found: re.Match[str]) -> str:
        old = found[0]
        if old.isdigit():
            return str(draw.randrange(10 ** len(old)))
        if len(old) < 4:
            return old
        new = re.sub(r"\W", "", draw.choice(_vocabulary())) or "thing"
        return new.capitalize() if old[0].isupper() else new.lower()

    answer = draw.choice([turn.content for turn in row.turns if turn.role == "assistant"])
    return talk(_question_reworded(row, draw).turns[0].content, re.sub(r"\w+", other, answer))


def _phrases(row: Row, draw: Random) -> list[str]:
    """Some runs of three to five words of an answer of the row, together at most a fifth of it."""
    parts = words(draw.choice([turn.content for turn in row.turns if turn.role == "assistant"]))
    found = []
    for _ in range(max(1, len(parts) // 25)):
        size = draw.randint(3, 5)
        start = draw.randrange(max(1, len(parts) - size))
        found.append("".join(parts[start : start + size]).strip())
    return [phrase for phrase in found if len(phrase) <= _LONGEST_PHRASE]


def _with_phrases(row: Row, draw: Random) -> Row:
    parts = [f"{_own_text(draw, 1)} {phrase}," for phrase in _phrases(row, draw)]
    return talk(row.turns[0].content, f"{' '.join(parts)} {_own_text(draw, 1)}")


def _long(row: Row, draw: Random) -> Row:
    """1,000 to 2,500 words, with phrases of many answers in them."""
    parts = [_own_text(draw, 1) for _ in range(draw.randint(60, 140))]
    parts += [phrase for each in draw.sample(evaluation_rows(), 10) for phrase in _phrases(each, draw)]
    draw.shuffle(parts)
    return talk(row.turns[0].content, " ".join(parts))


def _many_turns(row: Row, draw: Random) -> Row:
    """Questions of the evaluation set, one after the other, and short answers to them."""
    asked = [row, *draw.sample(evaluation_rows(), draw.randint(9, 30))]
    return talk(*(text for each in asked for text in (each.turns[0].content, _other_answer(each, draw))))


def _other_people(_: Row, draw: Random) -> Row:
    """A conversation of ``samples``, with a sentence of another in each answer."""
    row = draw.choice(samples())
    contents = [f"{turn.content} {_own_text(draw, 1) * (turn.role == 'assistant')}" for turn in row.turns]
    return talk(*contents, system=row.system)


def _common_property(row: Row, draw: Random) -> Row:
    quoted = draw.sample(_EVERYBODYS, 4)
    return talk(row.turns[0].content, f"{_other_answer(row, draw)} {' '.join(quoted)}")


def _code(row: Row, draw: Random) -> Row:
    """Some lines of Python's own library, under a question about code."""
    source = inspect.getsource(draw.choice([json.decoder, json.encoder, textwrap, string, re])).splitlines()
    start = draw.randrange(max(1, len(source) - 60))
    return talk(row.turns[0].content, "```python\n" + "\n".join(source[start : start + 60]) + "\n```")


_EVERYBODYS = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and"
    " associated documentation files, to deal in the Software without restriction.",
    "It was the best of times, it was the worst of times, it was the age of wisdom.",
    "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer.",
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in"
    " want of a wife.",
    "We hold these truths to be self-evident, that all men are created equal.",
    "The quick brown fox jumps over the lazy dog. Lorem ipsum dolor sit amet, consectetur adipiscing elit.",
    "Thank you for your message. Please do not hesitate to contact me if you have any further questions.",
    "Sehr geehrte Damen und Herren, vielen Dank für Ihre Nachricht. Mit freundlichen Grüßen",
    "Es irrt der Mensch, solang er strebt. Wer nicht wagt, der nicht gewinnt.",
    "Je vous prie d'agréer, Madame, Monsieur, l'expression de mes salutations distinguées.",
    "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, no ha mucho tiempo que vivía un hidalgo.",
    "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura, ché la diritta via era smarrita.",
    "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？人不知而不愠，不亦君子乎？",  # noqa: RUF001
    "お世話になっております。ご確認のほど、よろしくお願いいたします。",
    "if __name__ == '__main__':\n    parser = argparse.ArgumentParser(description=__doc__)\n    main()",
    "import pytest\n\n@pytest.mark.parametrize(('text', 'expected'), [('a', 'b')])\ndef test_it(text):",
    "from __future__ import annotations\n\nfrom dataclasses import dataclass\n\n\n@dataclass(frozen=True)\n"
    "class Point:\n    x: float\n    y: float",
    "SELECT name, count(*) AS total FROM orders WHERE created_at >= '2024-01-01' GROUP BY name ORDER BY 2;",
    "| Name | Type | Price |\n|---|---|---|\n| A | x | 10 |\n| B | y | 20 |",
    "All happy families are alike; each unhappy family is unhappy in its own way.",
    "A journey of a thousand miles begins with a single step, and the early bird catches the worm.",
)

HONEST: dict[str, Honest] = {
    "same question, other answer": _same_question,
    "question in other words": _question_reworded,
    "question quoted in the answer": _question_quoted,
    "same format, other contents": _same_format,
    "phrases of 3 to 5 words": _with_phrases,
    "long, with phrases of many": _long,
    "many turns": _many_turns,
    "other people's conversations": _other_people,
    "what everybody quotes": _common_property,
    "code of others": _code,
}


def negatives(each: int, seed: int = 0) -> Iterator[Case]:
    """``each`` rows of every kind, around rows of the evaluation set."""
    draw = Random(seed)
    for kind, honest in HONEST.items():
        for number in range(each):
            yield Case(kind, (honest(evaluation_rows()[number % len(evaluation_rows())], draw),))
