"""Makes text from outside safe to show in a terminal, log or leaderboard."""

import json
import re
from collections.abc import Collection, Mapping
from functools import cache
from types import MappingProxyType
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

ELLIPSIS = "…"
HIDDEN = "***"

_ADDRESS = re.compile(r"(hotkey )?\b(5[1-9A-HJ-NP-Za-km-z]{46,47})\b")
SECRET_CHARACTERS = 6  # shorter ones are no secrets, and hiding them would mangle other text


def printable(text: str, limit: int) -> str:
    """``text`` with every unprintable character escaped, in at most ``limit`` (at least 1) characters.

    Unprintable are characters that could move a cursor, colour a terminal, start a line, reverse the reading
    direction or fail to encode: control and format characters, separators other than the space, surrogates,
    private and unassigned code points. They are shown as ``\\xNN``, ``\\uNNNN`` or ``\\UNNNNNNNN``. Longer
    text ends in an ellipsis. Takes time proportional to ``limit``, however long the text.
    """
    if len(text) <= limit and text.isprintable():
        return text
    shown: list[str] = []
    room = limit
    for character in text[: limit + 1]:
        piece = character if character.isprintable() else _escape(ord(character))
        if len(piece) > room:
            return _cut(shown, limit)
        shown.append(piece)
        room -= len(piece)
    return "".join(shown)


def _escape(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _cut(shown: list[str], limit: int) -> str:
    """The pieces that leave room for the ellipsis; no escape is cut in two."""
    length = sum(map(len, shown))
    while shown and length > limit - len(ELLIPSIS):
        length -= len(shown.pop())
    return "".join(shown) + ELLIPSIS


def counted(number: int, one: str, many: str | None = None) -> str:
    """ "1 row", "2 rows"; ``many`` for what takes no mere s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short_hotkey(hotkey: str) -> str:
    """A hotkey as people recognise it: its first and last characters."""
    return f"{hotkey[:5]}{ELLIPSIS}{hotkey[-4:]}"


def short_names(text: str, uids: Mapping[str, int] = MappingProxyType({})) -> str:
    """``text`` with hotkeys shortened, and their uids if known: in full they would fill a line."""

    met: set[int] = set()

    def named(found: re.Match[str]) -> str:
        uid, short = uids.get(found[2]), short_hotkey(found[2])
        if uid is None:
            return (found[1] or "") + short
        if uid in met:
            return f"uid {uid}"
        met.add(uid)
        return f"uid {uid} ({short})"

    return _ADDRESS.sub(named, text)


def duration(seconds: float) -> str:
    """The two largest units: 3 h 05 min, 2 min 10 s, 4 s."""
    whole = round(seconds)
    for size, unit, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part:02d} {small}"
    return f"{whole} s"


def without(text: str, secrets: Collection[str]) -> str:
    """``text`` with every secret hidden: verbatim, escaped, encoded, and its lines and words."""
    for form in _forms(frozenset(secrets)):
        text = text.replace(form, HIDDEN)
    return text


@cache
def _forms(secrets: frozenset[str]) -> tuple[str, ...]:
    """The forms of a secret in a message, longest first: one may be part of another."""
    found = set(secrets)
    for secret in secrets:
        whole = {repr(secret)[1:-1], json.dumps(secret)[1:-1], printable(secret, 10 * len(secret) + 1)}
        whole |= {quote(secret), quote(secret, safe=""), quote_plus(secret)}
        found |= whole | _long_enough(secret.split())
    return tuple(sorted(found - {""}, key=len, reverse=True))


def secrets_in(address: str) -> frozenset[str]:
    """The parts of a server's address that may be keys: password, path segments, query values.

    Many node providers give each customer an address with a key somewhere after the host. Parts of fewer than
    six characters are left out. A mere name, such as a network's, holds no key.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return _long_enough([address])
    if not parts.scheme:
        return frozenset()
    values = [value for _, value in parse_qsl(parts.query)]
    return _long_enough([parts.password or "", parts.query, *values, *parts.path.split("/"), parts.fragment])


def without_key(address: str) -> str:
    """A server's address up to its port, without what ``secrets_in`` finds."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _long_enough(parts: Collection[str]) -> frozenset[str]:
    """Each part raw and percent-decoded: messages contain either."""
    both = {*parts, *map(unquote, parts)}
    return frozenset(part for part in both if len(part) >= SECRET_CHARACTERS)
