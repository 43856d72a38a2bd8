"""Markup, signs within words and words written as one, which hide words without hiding them from a model.

Signs and capitals, of which there may be one in every few characters, are looked up by code point, in all
texts at once: regular expressions take ten times as long where there are many matches.
"""

import re
from collections.abc import Sequence
from functools import cache
from html import unescape

import numpy as np
from numpy.typing import NDArray

_SELDOM = 20  # characters that are left for each thing removed; with fewer things a text is left alone
_FEW = 14  # characters for each sign that may be one of these, so that most texts cost no search

_TELLING = b"<{&\\*_~^|`+=#@$%/-'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STOPS = b".,"  # telling where no space follows
_TAGS = re.compile(r"</?[A-Za-z][^<>]{0,200}>|\\[A-Za-z]{1,40}\*?")
_ENTITIES = re.compile(r"(&#?[A-Za-z\d]{2,8};)")
_SIGNS = '!"#$%&()*+,./:;<=>?@[\\]^_`{|}~'
_JOINS = "'-\u2019\u2010\u2011"
_CODE_POINTS, _LAST_LETTER = 0x110000, 0x32400
_ALNUM, _LETTER, _SIGN, _JOIN, _CAPITAL, _SMALL = (np.uint8(1 << place) for place in range(6))
_SPACE = ord(" ")

Kinds = NDArray[np.uint8]
Places = NDArray[np.intp]


def without_markup(texts: Sequence[str]) -> list[str]:
    """The texts without tags and LaTeX commands, with what entities stand for; what signs part within a word
    is joined, and what hyphens, quotes or capitals join is parted.

    A text is left as it is where these are as seldom as in ordinary writing.
    """
    told = [*texts]
    places = [place for place, count in enumerate(_telling(texts)) if count * _FEW >= len(texts[place])]
    untagged = [_untagged(texts[place]) for place in places]
    parted = _parted([text for text, _ in untagged])
    for place, (_, tags), (text, others) in zip(places, untagged, parted, strict=True):
        if (tags + others) * _SELDOM >= len(text):
            told[place] = text
    return told


def _telling(texts: Sequence[str]) -> list[int]:
    """Of each text, at most how many things there are to remove; the cost of most texts is this."""
    joined = "".join(f"{text}\n" for text in texts)
    letters = np.frombuffer(joined.encode("latin-1", "replace"), dtype=np.uint8)
    telling, stops = _telling_letters()
    tells = telling[letters]
    tells[:-1] |= stops[letters[:-1]] & (letters[1:] != _SPACE)
    told = np.cumsum(tells, dtype=np.intp)
    counts: list[int] = np.diff(told[_ends(texts, 1) - 1], prepend=0).tolist()
    if not joined.isascii():
        counts = [count + text.count("\u2019") for count, text in zip(counts, texts, strict=True)]
    return counts


def _untagged(text: str) -> tuple[str, int]:
    """Without tags and commands, with what entities stand for; and how many of these there were."""
    plain, tags = _TAGS.subn("", text) if "<" in text or "\\" in text else (text, 0)
    if "&" not in plain:
        return plain, tags
    parts = _ENTITIES.split(plain)
    known = {entity: unescape(entity) for entity in {*parts[1::2]}}
    parts[1::2] = [known[entity] for entity in parts[1::2]]
    return "".join(parts), tags + len(parts) // 2


def _parted(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Each without one or two signs within a word, with a space for what joins two words, and one before
    capitals within a word; and how many of these there were.
    """
    if not texts:
        return []
    codes = np.frombuffer("".join(f"{text}\n\n" for text in texts).encode("utf-32-le"), dtype="<u4")
    kinds, ends = _kinds()[codes], _ends(texts, 2)
    is_sign, is_letter = kinds & _SIGN > 0, kinds & _LETTER > 0
    first = is_sign[1:-2] & (kinds[:-3] & _ALNUM > 0)
    first &= is_letter[2:-1] | (is_sign[2:-1] & is_letter[3:])
    signs = np.flatnonzero(first) + 1
    seconds = signs[is_sign[signs + 1] & is_letter[signs + 2]] + 1
    kept = np.ones(len(codes), dtype=np.bool_)
    kept[signs] = kept[seconds] = False
    codes, kinds, is_letter = codes[kept], kinds[kept], is_letter[kept]
    ends_kept: Places = np.cumsum(kept, dtype=np.intp)[ends - 1]
    joins = np.flatnonzero((kinds[1:-1] & _JOIN > 0) & is_letter[:-2] & is_letter[2:]) + 1
    codes[joins] = _SPACE
    capitals = np.flatnonzero((kinds[1:] & _CAPITAL > 0) & (kinds[:-1] & _SMALL > 0)) + 1
    plain = np.insert(codes, capitals, _SPACE).astype("<u4").tobytes().decode("utf-32-le")
    more = _of_each(capitals, ends_kept)
    counts = _of_each(signs, ends) + _of_each(joins, ends_kept) + more
    stops = (ends_kept + np.cumsum(more, dtype=np.intp)).tolist()
    starts = [0, *stops[:-1]]
    return [
        (plain[start : stop - 2], count)
        for start, stop, count in zip(starts, stops, counts.tolist(), strict=True)
    ]


def _ends(texts: Sequence[str], gap: int) -> Places:
    """Where each text ends among all, with so many characters after each."""
    return np.cumsum([len(text) + gap for text in texts], dtype=np.intp)


def _of_each(places: Places, ends: Places) -> Places:
    """How many of the places are in each text."""
    return np.diff(np.searchsorted(places, ends), prepend=0)


@cache
def _telling_letters() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """By letter of Latin-1: whether it is telling, and whether it is where no space follows."""
    telling, stops = np.zeros((2, 256), dtype=np.bool_)
    telling[[*_TELLING]] = True
    stops[[*_STOPS]] = True
    return telling, stops


@cache
def _kinds() -> Kinds:
    """By code point."""
    kinds = np.zeros(_CODE_POINTS, dtype=np.uint8)
    every = np.arange(_LAST_LETTER, dtype=np.uint32).view("U1")
    kinds[:_LAST_LETTER][np.strings.isalnum(every)] = _ALNUM
    kinds[:_LAST_LETTER][np.strings.isalnum(every) & ~np.strings.isdecimal(every)] |= _LETTER
    kinds[[*map(ord, _SIGNS)]] |= _SIGN
    kinds[[*map(ord, _JOINS)]] |= _JOIN
    kinds[ord("A") : ord("Z") + 1] |= _CAPITAL
    kinds[ord("a") : ord("z") + 1] |= _SMALL
    return kinds
