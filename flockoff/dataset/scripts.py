"""In which script a text is written, by the names that Unicode gives its letters."""

import unicodedata
from collections import Counter
from functools import cache

NO_LETTERS = "no letters"

_LOOKED_AT = 4096  # characters: a text's beginning tells its script
_FORMS = {
    "FULLWIDTH",
    "HALFWIDTH",
    "MATHEMATICAL",
    "MODIFIER",
    "SMALL",
}  # of letters, not scripts of their own
_KANA_SHARE = 0.1  # of the letters: Japanese mixes them with Chinese characters


def script_of(text: str) -> str:
    """The script of most letters, such as ``Latin``; ``Japanese`` for kana with Chinese characters.

    ``NO_LETTERS`` where there are none. Only the text's beginning is looked at. A language cannot be told by
    it: English and French are both Latin.
    """
    counts: Counter[str] = Counter()
    for character, count in Counter(text[:_LOOKED_AT]).items():
        if (script := _of_letter(character)) is not None:
            counts[script] += count
    if not counts:
        return NO_LETTERS
    if counts["Kana"] >= _KANA_SHARE * counts.total():
        return "Japanese"
    return max(counts, key=lambda script: (counts[script], script))


@cache
def _of_letter(character: str) -> str | None:
    if not character.isalpha():
        return None
    words = [word for word in unicodedata.name(character, "").split() if word not in _FORMS]
    if not words:
        return None
    name = words[0].partition("-")[0]
    return {"CJK": "Chinese", "HIRAGANA": "Kana", "KATAKANA": "Kana"}.get(name, name.capitalize())
