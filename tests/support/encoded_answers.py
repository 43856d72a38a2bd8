"""More disguises of the evaluation set's answers: encodings, ciphers, spellings and forms of data.

Written after the rules of ``contamination.py`` and their thresholds. Whether such rows still teach a model
anything is measured by ``python -m tests.bench value``.
"""

import base64
import codecs
import json
import re
from collections.abc import Callable
from functools import cache
from random import Random
from string import ascii_lowercase
from urllib.parse import quote

from flockoff.records import Row
from tests.support.contamination_cases import Disguise, evaluation_rows, sentences, talk, words

_LETTERS = re.compile(r"[^\W\d_]+")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen
"""
_MORSE = """
.- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --..
"""
_SOUNDS = (
    *(("ph", "f"), ("ck", "k"), ("qu", "kw"), ("x", "ks"), ("c(?=[eiy])", "s"), ("c(?!h)", "k")),
    *(("tion", "shun"), ("ight", "ite"), ("ee|ea", "ee"), ("oo|ou", "oo"), ("wh", "w"), ("kn", "n")),
    *((r"([bdfglmnprst])\1", r"\1"), ("s\\b", "z"), ("y\\b", "ee"), ("g(?=[eiy])", "j")),
)
# Word for word: the small words, and some of the commonest others.
_GERMAN = """
the=die a=eine an=ein and=und or=oder but=aber if=wenn is=ist are=sind was=war were=waren be=sein it=es
its=sein you=du your=dein we=wir they=sie he=er she=sie i=ich my=mein this=dies that=das these=diese
those=jene of=von to=zu in=in on=auf at=bei by=durch for=für with=mit without=ohne from=von not=nicht
no=kein as=als than=als so=so then=dann there=dort here=hier which=welche who=wer what=was when=wenn how=wie
why=warum where=wo will=wird would=würde can=kann could=könnte should=sollte may=darf must=muss has=hat
have=haben had=hatte do=tun does=tut did=tat one=ein two=zwei three=drei four=vier five=fünf six=sechs
seven=sieben eight=acht nine=neun ten=zehn first=erste second=zweite last=letzte more=mehr less=weniger
most=meist all=alle each=jede every=jede some=einige any=irgendein only=nur also=auch very=sehr too=zu
out=aus up=auf down=ab over=über under=unter before=vor after=nach between=zwischen because=weil
while=während water=wasser day=tag days=tage week=woche weeks=wochen year=jahr years=jahre time=zeit
people=leute work=arbeit house=haus room=raum door=tür hand=hand head=kopf eye=auge light=licht night=nacht
morning=morgen evening=abend good=gut better=besser best=beste bad=schlecht new=neu old=alt long=lang
short=kurz big=groß small=klein high=hoch low=tief right=richtig wrong=falsch same=gleich other=andere
next=nächste make=machen take=nehmen give=geben get=bekommen go=gehen come=kommen see=sehen say=sagen
know=wissen think=denken want=wollen use=nutzen need=brauchen find=finden ask=fragen tell=sagen
keep=behalten put=legen read=lesen write=schreiben word=wort words=wörter question=frage answer=antwort
number=zahl part=teil place=ort way=weg thing=ding things=dinge money=geld price=preis cost=kosten
food=essen table=tisch city=stadt country=land world=welt school=schule book=buch letter=brief name=name
line=linie side=seite end=ende minutes=minuten hours=stunden month=monat months=monate half=halb now=jetzt
today=heute never=nie always=immer often=oft still=noch again=wieder together=zusammen enough=genug
little=wenig much=viel many=viele both=beide since=seit until=bis about=über into=hinein through=durch
against=gegen
"""


@cache
def _german_words() -> dict[str, str]:
    return dict(pair.split("=") for pair in _GERMAN.split())


@cache
def _questions() -> dict[str, str]:
    """By answer, the turn before it."""
    return {
        turn.content: row.turns[place - 1].content
        for row in evaluation_rows()
        for place, turn in enumerate(row.turns)
        if turn.role == "assistant"
    }


def under_its_question(change: Callable[[str, Random], str]) -> Disguise:
    return lambda answer, draw: [talk(_questions()[answer], change(answer, draw))]


def _each_word(change: Callable[[str, Random], str]) -> Callable[[str, Random], str]:
    """Each run of letters of the answer changed, all else kept."""
    return lambda answer, draw: _LETTERS.sub(lambda found: change(found[0], draw), answer)


def _transposed(word: str, draw: Random) -> str:
    if len(word) < 4:
        return word
    at = draw.randrange(1, len(word) - 1)
    return word[:at] + word[at : at + 2][::-1] + word[at + 2 :]


def _middle_shuffled(word: str, draw: Random) -> str:
    middle = list(word[1:-1])
    draw.shuffle(middle)
    return word[:1] + "".join(middle) + word[-1:] if len(word) > 3 else word


def _cut_by_space(word: str, draw: Random) -> str:
    at = draw.randrange(2, len(word) - 1) if len(word) > 4 else len(word)
    return f"{word[:at]} {word[at:]}".strip()


def _vowels_dropped(word: str, _: Random) -> str:
    return word[0] + re.sub("[aeiouAEIOU]", "", word[1:]) if len(word) > 3 else word


def _a_vowel_changed(word: str, draw: Random) -> str:
    places = [place for place, each in enumerate(word) if each in "aeiou"]
    if len(word) < 4 or not places:
        return word
    at = draw.choice(places)
    return word[:at] + draw.choice("aeiou".replace(word[at], "")) + word[at + 1 :]


def _doubled(word: str, _: Random) -> str:
    return "".join(each * 2 for each in word)


def _a_letter_dropped(word: str, draw: Random) -> str:
    at = draw.randrange(1, len(word) - 1) if len(word) > 3 else len(word)
    return word[:at] + word[at + 1 :]


def _a_letter_added(word: str, draw: Random) -> str:
    at = draw.randrange(1, len(word)) if len(word) > 2 else len(word)
    return word[:at] + draw.choice(ascii_lowercase) + word[at:]


def _a_letter_replaced(word: str, draw: Random) -> str:
    at = draw.randrange(1, len(word)) if len(word) > 2 else len(word)
    return word[:at] + draw.choice(ascii_lowercase) * (at < len(word)) + word[at + 1 :]


def _first_moved(word: str, _: Random) -> str:
    return word[1:] + word[:1]


def _neighbours_transposed(word: str, _: Random) -> str:
    """The first two letters, the next two, and so on."""
    return "".join(word[at : at + 2][::-1] for at in range(0, len(word), 2))


def _as_it_sounds(word: str, _: Random) -> str:
    for written, told in _SOUNDS:
        word = re.sub(written, told, word)
    return word


def _framed(word: str, _: Random) -> str:
    """Another first and another last letter."""
    return f"k{word}t"


def _pig_latin(word: str, _: Random) -> str:
    start = re.match(r"(?i)[^aeiou]*", word)
    cut = start.end() if start else 0
    return f"{word[cut:]}{word[:cut]}ay"


def _german(word: str, _: Random) -> str:
    return _german_words().get(word.lower(), word)


def _spelled(number: int) -> str:
    ones = _ONES.split()
    if number < 20:
        return ones[number]
    if number < 100:
        rest = f"-{ones[number % 10]}" if number % 10 else ""
        return _TENS[number // 10 - 2] + rest
    if number < 1000:
        rest = f" and {_spelled(number % 100)}" if number % 100 else ""
        return f"{ones[number // 100]} hundred{rest}"
    return " ".join(ones[int(digit)] for digit in str(number))


def _numbers_spelled(answer: str, _: Random) -> str:
    return re.sub(r"\d+", lambda found: _spelled(int(found[0])), answer)


def _dealt_words(strands: int) -> Callable[[str, Random], str]:
    """Every so many-th word, then the next ones: neighbours are far apart."""

    def change(answer: str, _: Random) -> str:
        parts = answer.split()
        return " ".join(word for start in range(strands) for word in parts[start::strands])

    return change


def _over_rows_of(count: int) -> Disguise:
    """So many words a row, under what comes before them."""

    def change(answer: str, _: Random) -> list[Row]:
        parts = answer.split()
        pieces = [" ".join(parts[start : start + count]) for start in range(0, len(parts), count)]
        return [
            talk(f"{_questions()[answer]} {before}".strip(), piece)
            for before, piece in zip(["", *pieces], pieces, strict=False)
        ]

    return change


def _numbered_rows_of(count: int) -> Disguise:
    """So many words a row, each asked for by its number."""

    def change(answer: str, _: Random) -> list[Row]:
        parts = answer.split()
        pieces = [" ".join(parts[start : start + count]) for start in range(0, len(parts), count)]
        return [
            talk(f"{_questions()[answer]} (part {place})", piece) for place, piece in enumerate(pieces, 1)
        ]

    return change


def _as_csv(answer: str, _: Random) -> str:
    lines = (f'{place},"{text.strip()}"' for place, text in enumerate(sentences(answer), start=1))
    return "id,text\n" + "\n".join(lines)


def _a_word_a_line(answer: str, _: Random) -> str:
    return "\n".join(f"{place}: {word}" for place, word in enumerate(answer.split(), start=1))


def _as_comments(answer: str, _: Random) -> str:
    parts = words(answer)
    lines = ("# " + "".join(parts[start : start + 7]).strip() for start in range(0, len(parts), 7))
    return "```python\n" + "\nx += 1\n".join(lines) + "\n```"


def _code_of(letter: Callable[[str], str]) -> Callable[[str, Random], str]:
    return lambda answer, _: "".join(letter(each) for each in answer)


def _in_morse(answer: str, _: Random) -> str:
    codes = dict(zip(ascii_lowercase, _MORSE.split(), strict=True))
    return " ".join(codes.get(each, each) for each in answer.lower())


def _in_system(answer: str, draw: Random) -> list[Row]:
    return [talk(_questions()[answer], "Yes, as I was told.", system=answer)]


def _in_user_turns(answer: str, _: Random) -> list[Row]:
    parts = [each.strip() for each in sentences(answer)]
    return [talk(*(text for each in parts for text in (each, "I see. And then?")))]


def _merged(answer: str, _: Random) -> list[Row]:
    return [talk("Make up a conversation.", f"Q: {_questions()[answer]}\nA: {answer}")]


SPELLED: dict[str, Disguise] = {
    "letters transposed in every word": under_its_question(_each_word(_transposed)),
    "middles of words shuffled": under_its_question(_each_word(_middle_shuffled)),
    "a letter dropped from every word": under_its_question(_each_word(_a_letter_dropped)),
    "a vowel changed in every word": under_its_question(_each_word(_a_vowel_changed)),
    "vowels dropped": under_its_question(_each_word(_vowels_dropped)),
    "letters doubled": under_its_question(_each_word(_doubled)),
    "a letter added to every word": under_its_question(_each_word(_a_letter_added)),
    "a letter replaced in every word": under_its_question(_each_word(_a_letter_replaced)),
    "first letters dropped": under_its_question(_each_word(lambda word, _: word[len(word) > 3 :])),
    "last letters dropped": under_its_question(
        _each_word(lambda word, _: word[: len(word) - (len(word) > 3)])
    ),
    "a letter before and after every word": under_its_question(_each_word(_framed)),
    "a syllable added to every word": under_its_question(_each_word(lambda word, _: f"{word}o")),
    "every vowel an e": under_its_question(_each_word(lambda word, _: re.sub("[aiou]", "e", word))),
    "as it sounds": under_its_question(_each_word(_as_it_sounds)),
    "letters sorted within words": under_its_question(_each_word(lambda word, _: "".join(sorted(word)))),
    "letters of words transposed by twos": under_its_question(_each_word(_neighbours_transposed)),
    "first letters moved to the end": under_its_question(_each_word(_first_moved)),
    "words cut by spaces": under_its_question(_each_word(_cut_by_space)),
    "words joined by zero width": under_its_question(lambda answer, _: "\u200b".join(answer.split())),
    "small words in German": under_its_question(_each_word(_german)),
    "numbers spelled out": under_its_question(_numbers_spelled),
    "words dealt into 2": under_its_question(_dealt_words(2)),
    "words dealt into 5": under_its_question(_dealt_words(5)),
    "words in alphabetical order": under_its_question(lambda answer, _: " ".join(sorted(answer.split()))),
    "mathematical letters": under_its_question(
        _code_of(lambda each: chr(0x1D41A + ord(each) - 97) if "a" <= each <= "z" else each)
    ),
}
FORMS: dict[str, Disguise] = {
    "as JSON": under_its_question(lambda answer, _: json.dumps({"steps": sentences(answer)})),
    "as CSV": under_its_question(_as_csv),
    "a numbered word a line": under_its_question(_a_word_a_line),
    "as comments in code": under_its_question(_as_comments),
    "12 words a row": _over_rows_of(12),
    "6 words a row": _over_rows_of(6),
    "4 words a row, numbered": _numbered_rows_of(4),
    "in the system text": _in_system,
    "in the user's turns": _in_user_turns,
    "question and answer merged": _merged,
}
ENCODED: dict[str, Disguise] = {
    "base64": under_its_question(lambda answer, _: base64.b64encode(answer.encode()).decode()),
    "hexadecimal": under_its_question(lambda answer, _: answer.encode().hex(" ")),
    "rot13": under_its_question(lambda answer, _: codecs.encode(answer, "rot13")),
    "pig latin": under_its_question(_each_word(_pig_latin)),
    "letters of words reversed": under_its_question(_each_word(lambda word, _: word[::-1])),
    "all letters reversed": under_its_question(lambda answer, _: answer[::-1]),
    "Morse": under_its_question(_in_morse),
    "percent-encoded": under_its_question(lambda answer, _: quote(answer)),
    "as \\u escapes": under_its_question(_code_of(lambda each: f"\\u{ord(each):04x}")),
    "as numbered entities": under_its_question(_code_of(lambda each: f"&#{ord(each)};")),
}
