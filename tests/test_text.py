import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flockoff.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, naïve 日本 😀", "plain text, naïve 日本 😀"),
        ("a\tb\r\nc\0", "a\\x09b\\x0d\\x0ac\\x00"),
        ("\x1b[31mred\x9b0m", "\\x1b[31mred\\x9b0m"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
        ("\ud800\U000e0041\u00a0", "\\ud800\\U000e0041\\xa0"),
        ("", ""),
    ],
)
def test_printable_unprintable_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text, 100) == shown


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("abcde\n", 6, "abcde…"),
        ("ab\n", 6, "ab\\x0a"),
        ("ab\nc", 6, "ab…"),
        ("\n\n", 4, "…"),
        ("ab", 1, "…"),
    ],
)
def test_printable_long_text_ends_in_an_ellipsis(text: str, limit: int, shown: str) -> None:
    assert printable(text, limit) == shown


@settings(deadline=None)
@given(st.text(st.characters()), st.integers(1, 30))
def test_printable_any_text_is_short_and_printable(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    shown.encode()
    if text.isprintable() and len(text) <= limit:
        assert shown == text
