"""Markup, signs within words and words written as one, which hide words without hiding them from a model."""

import re
from html import unescape

_SELDOM = 20  # characters that are left for each thing removed; with fewer things a text is left alone
_FEW = 14  # characters for each sign that may be one of these, so that most texts cost no search

_TELLING = b"<{&\\*_~^|`+=#@$%/-'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MARKS = (b".", b",")  # telling where no space follows
_TAGS = re.compile(r"</?[A-Za-z][^<>]{0,200}>|\\[A-Za-z]{1,40}\*?")
_ENTITIES = re.compile(r"&#?[A-Za-z\d]{2,8};")
# Each begins with what is rare, which is several times as fast as beginning with what is before it.
_SIGN = r"[!-&(-,./:-@\[-`{-~]"
_WITHIN_WORDS = re.compile(rf"(?:{_SIGN}{{2}}(?<=[^\W_]{_SIGN}{{2}})|{_SIGN}(?<=[^\W_]{_SIGN}))(?=[^\W\d_])")
_JOINS = re.compile("['\u2019\u2010\u2011-](?<=[^\\W\\d_]['\u2019\u2010\u2011-])(?=[^\\W\\d_])")
_CAPITALS = re.compile(r"[A-Z](?<=[a-z][A-Z])")


def without_markup(text: str) -> str:
    """The text without tags and LaTeX commands, with what entities stand for; what signs part within a word
    is joined, and what hyphens, quotes or capitals join is parted.

    The same text where these are as seldom as in ordinary writing.
    """
    if _telling(text) * _FEW < len(text):
        return text
    plain, tags = _TAGS.subn("", text)
    plain, entities = _ENTITIES.subn(lambda found: unescape(found[0]), plain)
    plain, signs = _WITHIN_WORDS.subn("", plain)
    plain, joins = _JOINS.subn(" ", plain)
    plain, capitals = _CAPITALS.subn(r" \g<0>", plain)
    return plain if (tags + entities + signs + joins + capitals) * _SELDOM >= len(plain) else text


def _telling(text: str) -> int:
    """At most how many things there are to remove; every text is counted, so this must be quick."""
    letters = text.encode("latin-1", "replace")
    marks = sum(letters.count(mark) - letters.count(mark + b" ") for mark in _MARKS)
    return len(letters) - len(letters.translate(None, _TELLING)) + marks + text.count("\u2019")
