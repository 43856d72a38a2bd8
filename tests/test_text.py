import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.text import HIDDEN, duration, printable, secrets_in, without, without_key


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


@given(st.text(st.characters()), st.integers(1, 30))
def test_printable_any_text_is_short_and_printable(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    shown.encode()
    if text.isprintable() and len(text) <= limit:
        assert shown == text


@pytest.mark.parametrize(
    ("address", "secrets", "shown"),
    [
        ("wss://node.example:443", set(), "wss://node.example:443"),
        ("wss://node.example/a1b2c3d4", {"a1b2c3d4"}, "wss://node.example"),
        (
            "wss://node.example/v1/ws?apikey=a1b2c3d4&x=1",
            {"apikey=a1b2c3d4&x=1", "a1b2c3d4"},
            "wss://node.example",
        ),
        ("http://me:pass%20word@[::1]:80/", {"pass%20word", "pass word"}, "http://[::1]:80"),
        ("http://me:short@hub.example", set(), "http://hub.example"),
        ("wss:/node.example/a1b2c3d4", {"node.example", "a1b2c3d4"}, "wss://"),
    ],
)
def test_secrets_in_address_are_all_behind_the_host(address: str, secrets: set[str], shown: str) -> None:
    assert secrets_in(address) == secrets
    assert without_key(address) == shown


def test_secrets_in_name_of_a_network_are_none() -> None:
    assert secrets_in("finney") == secrets_in("") == frozenset()


def test_secrets_in_broken_address_are_all_of_it() -> None:
    assert secrets_in("ws://[broken/a1b2c3d4") == {"ws://[broken/a1b2c3d4"}


@given(st.text(), st.sets(st.text(min_size=1), max_size=4))
def test_without_any_text_holds_no_secret_that_no_mask_brings_in(text: str, secrets: set[str]) -> None:
    shown = without(text, secrets)
    assert all(secret not in part for part in shown.split("***") for secret in secrets if "*" not in secret)


def test_without_secret_that_begins_another_hides_both() -> None:
    assert without("abcdef abc", {"abc", "abcdef"}) == "*** ***"


@pytest.mark.parametrize(
    "shown",
    [
        "hf_first\nhf_second",
        repr("hf_first\nhf_second"),
        json.dumps("hf_first\nhf_second"),
        "hf_first%0Ahf_second",
        "only hf_second",
        "only hf_first",
    ],
)
def test_without_hides_a_secret_escaped_encoded_and_in_parts(shown: str) -> None:
    hidden = without(shown, {"hf_first\nhf_second"})
    assert "hf_first" not in hidden and "hf_second" not in hidden and HIDDEN in hidden


@pytest.mark.parametrize(
    ("seconds", "words"), [(59.6, "1 min 00 s"), (3900, "1 h 05 min"), (93600, "1 d 02 h"), (7, "7 s")]
)
def test_duration_has_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
