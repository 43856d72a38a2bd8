"""Split a long text into pieces whose tokens, concatenated, are the tokens of the whole.

So a row is tokenised only as far as the context reaches, and memory is bounded by a few pieces: tokenizers
allocate some 350 bytes per byte of text.

A piece ends at a word boundary: before a space, or between a letter or digit and a punctuation mark or line
end. Tokenizers of the GPT-2 family (SmolLM2's, Qwen's and Llama 3's among them) split at all of these before
looking for tokens, and Unicode normalisation joins nothing across them. A run of ``LONGEST_PIECE`` characters
without a boundary, which no language has, is cut there anyway; near the cut its tokens differ from those of
the whole run.
"""

import re
from collections.abc import Collection, Iterator

SHORTEST_PIECE = 4096  # characters; the last of a text's pieces may be shorter
LONGEST_PIECE = 2 * SHORTEST_PIECE

# Only characters that every version of Unicode puts in the same class.
_WORD_END = re.compile(
    r"\S(?= )"
    r"|[A-Za-z0-9\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5]"
    r"(?=[\n,.:;!?|\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f])"
)


def pieces_of(text: str, marks: Collection[str]) -> Iterator[str]:
    """The pieces of ``text``, in order. None ends inside one of ``marks``, the added tokens."""
    start = 0
    while len(text) - start > LONGEST_PIECE:
        found = _WORD_END.search(text, start + SHORTEST_PIECE, start + LONGEST_PIECE)
        end = _outside(text, found.end() if found else start + LONGEST_PIECE, marks)
        yield text[start:end]
        start = end
    yield text[start:]


def _outside(text: str, place: int, marks: Collection[str]) -> int:
    """``place``, or the start of the mark that contains it."""
    around = (text.find(mark, place - len(mark) + 1, place + len(mark) - 1) for mark in marks)
    return min((begin for begin in around if begin >= 0), default=place)
