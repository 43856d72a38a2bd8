"""Text from outside, made safe to show: in a terminal, in a log, on a leaderboard."""

ELLIPSIS = "…"


def printable(text: str, limit: int) -> str:
    """``text`` with every unprintable character escaped, in at most ``limit`` (at least 1) characters.

    Unprintable is what could move a cursor, colour a terminal, start a line, reverse the reading direction
    or fail to be encoded: control and format characters, separators other than the space, surrogates,
    private and unassigned code points. They are shown as ``\\xNN``, ``\\uNNNN`` or ``\\UNNNNNNNN``. What is
    too long ends in an ellipsis. Costs time in proportion to ``limit``, however long the text is.
    """
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


def short_hotkey(hotkey: str) -> str:
    """A hotkey as people recognise it: its first and last characters."""
    return f"{hotkey[:5]}{ELLIPSIS}{hotkey[-4:]}"
