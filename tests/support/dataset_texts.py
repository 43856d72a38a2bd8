"""Rows to test with: one line by hand, and strategies for any rows in any arrangement of their file."""

import json
import unicodedata
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st

from flockoff.records import Row, Turn
from tests.support.examples import examples

EXAMPLES = settings(max_examples=examples(50))
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0<"), max_size=40)


def shows(text: str) -> bool:
    """Whether ``text`` has a character that is displayed, by the running Python's Unicode."""
    return any(
        not character.isspace()
        and unicodedata.category(character) not in ("Cc", "Cf")
        and "VARIATION SELECTOR" not in unicodedata.name(character, "")
        and character not in _NOT_SHOWN
        and not 0xE0000 <= ord(character) < 0xE1000
        for character in text
    )


_NOT_SHOWN = "\u034f\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0\U0001d159" + "".join(
    map(chr, [*range(0xFFF0, 0xFFF9), *range(0x13430, 0x13440)])
)
CONTENT = TEXT.filter(shows)


def row_of(user: str, assistant: str, system: str | None = None) -> Row:
    return Row(system, (Turn("user", user), Turn("assistant", assistant)))


def line_of(user: str = "Hi", assistant: str = "Hello", **more: object) -> bytes:
    conversations = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return json.dumps({**more, "conversations": conversations}).encode()


@st.composite
def rows(draw: st.DrawFn) -> Row:
    contents = draw(st.lists(st.tuples(CONTENT, CONTENT), min_size=1, max_size=3))
    turns = [turn for user, answer in contents for turn in (Turn("user", user), Turn("assistant", answer))]
    return Row(draw(st.none() | TEXT), tuple(turns))


@st.composite
def files(draw: st.DrawFn, some_rows: Sequence[Row]) -> bytes:
    """A file of these rows in some order, any white space, key order, escapes, line ends, blank lines."""
    lines: list[str] = []
    for row in draw(st.permutations(some_rows)):
        lines += draw(st.lists(st.sampled_from(["", " ", "\t "]), max_size=2))
        lines.append(draw(_spellings(row)))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    last = draw(st.sampled_from(["", end, end + end]))
    bom = draw(st.sampled_from(["", "\ufeff"]))
    return (bom + end.join(lines) + last).encode()


@st.composite
def _spellings(draw: st.DrawFn, row: Row) -> str:
    """One line for the row."""
    turns = [
        dict(draw(st.permutations([("role", turn.role), ("content", turn.content)]))) for turn in row.turns
    ]
    pairs: list[tuple[str, object]] = [("conversations", turns)]
    if row.system is not None or draw(st.booleans()):
        pairs.append(("system", row.system))
    space = draw(st.sampled_from(["", " ", "\t", "\r"]))
    text = json.dumps(
        dict(draw(st.permutations(pairs))),
        ensure_ascii=draw(st.booleans()),
        separators=(space + "," + space, space + ":" + space),
    )
    return space + text + space
