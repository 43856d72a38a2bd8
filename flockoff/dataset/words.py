"""Words, for comparisons in which word boundaries count."""

import re
import unicodedata

# Thai, Lao, kana and Han, which are written without spaces: each letter counts as a word.
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
# Python's normalisation takes time quadratic in the length of a run of combining marks: minutes for one line.
_PIECE = re.compile(r"\S{1,1000}")
# Soft hyphens, zero-width characters, direction marks, and combining marks that belong to no letter.
_INVISIBLE = re.compile("[\u00ad\u0300-\u036f\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]+")


def words_of(text: str) -> list[str]:
    """Runs of letters and digits after NFKC, without invisible characters, case-folded."""
    if not text.isascii():
        text = _PIECE.sub(lambda piece: unicodedata.normalize("NFKC", piece[0]), text)
        text = _INVISIBLE.sub("", text)
    return _WORD.findall(text.casefold())
