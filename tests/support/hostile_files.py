"""Hostile datasets: each kind is aimed at a validator's time, memory or process."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path
from random import Random

MIB = 1024 * 1024
_SHORT = 3270  # bytes of text in a row: nearly 20,000 such rows are 64 MiB
_LONG = 250_000  # nearly the longest line
_EVALUATION_SET = Path(__file__).parents[2] / "eval_data" / "data.jsonl"

Lines = Callable[[Random], Iterable[bytes]]


def write_file(path: Path, kind: str, size: int) -> int:
    """Write a file of that kind, of at most ``size`` bytes and nearly that many; its size."""
    written = 0
    with path.open("wb") as file:
        for line in KINDS[kind](Random(0)):
            if written + len(line) > size:
                break
            written += file.write(line)
    return written


def line(*contents: str, ascii_only: bool = False) -> bytes:
    turns = [
        {"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(contents)
    ]
    return json.dumps({"conversations": turns}, ensure_ascii=ascii_only).encode() + b"\n"


def _short(unit: str) -> Lines:
    """20,000 rows of 64 MiB whose answers repeat ``unit``."""
    return _answers(unit, _SHORT)


def _long(unit: str) -> Lines:
    """Rows as long as a line may be whose answers repeat ``unit``."""
    return _answers(unit, _LONG)


def _answers(unit: str, size: int) -> Lines:
    times = size // len(unit.encode())
    return lambda _: repeat(line("Hi", unit * times + "."))


def _drawn(alphabet: str, size: int = _SHORT) -> Lines:
    """Rows whose answers are characters at random; no two rows are the same."""
    length = size // max(len(character.encode()) for character in alphabet)
    return lambda draw: iter(lambda: line("Hi", "".join(draw.choices(alphabet, k=length)) + "."), b"")


def _words(draw: Random, count: int) -> str:
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    weights = range(len(letters), 0, -1)
    return " ".join("".join(draw.choices(letters, weights, k=draw.randint(1, 9))) for _ in range(count))


def _ordinary(length: int) -> Lines:
    def lines(draw: Random) -> Iterator[bytes]:
        vocabulary = _words(draw, 20_000).split(" ")
        while True:
            yield line("What about this?", " ".join(draw.choices(vocabulary, k=length)))

    return lines


def _raw(block: bytes) -> Lines:
    return lambda _: repeat(block)


def _numbered(draw: Random) -> Iterator[bytes]:
    while True:
        yield b"{" + b",".join(b'"%d":%d' % (draw.getrandbits(20), n) for n in range(250)) + b"}\n"


def _evaluation_words() -> list[str]:
    rows = [json.loads(row) for row in _EVALUATION_SET.read_text(encoding="utf-8").splitlines()]
    return " ".join(turn["content"] for row in rows for turn in row["conversations"]).split(" ")


def _of_answers(length: int) -> Lines:
    """Rows of pieces of that many words of the evaluation set."""

    def lines(draw: Random) -> Iterator[bytes]:
        words = _evaluation_words()
        while True:
            starts = [draw.randrange(len(words) - length) for _ in range(580 // length)]
            yield line("Hi", " so ".join(" ".join(words[start : start + length]) for start in starts))

    return lines


_CJK = "".join(map(chr, range(0x4E00, 0x9000, 7)))
_ANSWER_OPENING = "The tide turns twice a day, because the "

KINDS: dict[str, Lines] = {
    # Valid, or would be if they had fewer tokens.
    "ordinary rows": _ordinary(600),
    "ordinary rows of 256 tokens": _ordinary(130),
    "ordinary long rows": _ordinary(40_000),
    "long words": _short(" responsibilities"),
    "long words, long rows": _long(" responsibilities"),
    "spaces": _short(" "),
    "spaces, long rows": _long(" "),
    "line ends": _short("\n"),
    "one letter": _short("a"),
    "one letter, long rows": _long("a"),
    "letters without spaces": _drawn("abcdefghijklmnop"),
    "letters without spaces, long rows": _drawn("abcdefghijklmnop", _LONG),
    "rules and blanks": _drawn(" \t-=#"),
    "letters with spaces": _short("a "),
    "contractions": _short("a's"),
    "capitals within words": _short("aB"),
    "signs within words": _short("a*b~~"),
    "tags": _short("<b>a"),
    "entities": _short("&lt;a"),
    "commands": _short("\\bf "),
    "Chinese": _drawn(_CJK),
    "Chinese, long rows": _drawn(_CJK, _LONG),
    "emoji": _short("\U0001f600"),
    "emoji families, long rows": _long("\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    "combining marks, long rows": _long("\u0301\u0316"),
    "letters with many marks": _short("a\u0316\u0301\u0327\u0323"),
    "ligatures that normalise to 18 letters, long rows": _long("\ufdfa"),
    "escaped letters": lambda _: repeat(line("Hi", "\u0439" * 500, ascii_only=True)),
    "escaped quotes": _short('"'),
    "many turns": lambda _: repeat(line(*["a", "b"] * 3200)),
    "tiny rows": lambda _: repeat(line("a", "b")),
    "opening angle brackets": _short("<"),
    "beginnings of special tokens": _short("<|im_star"),
    "brackets in strings": _short("[{"),
    "beginnings of an answer": _short(_ANSWER_OPENING),
    "beginnings of an answer, long rows": _long(_ANSWER_OPENING),
    "evaluation set, long pieces": _of_answers(290),
    "evaluation set, short pieces": _of_answers(7),
    # Not valid.
    "one line": _raw(b"a" * MIB),
    "one string": _raw(b'{"system": "' + b"a" * (MIB - 12)),
    "line ends only": _raw(b"\n" * MIB),
    "blank lines": _raw(b" \t\r\n" * (MIB // 4)),
    "bad rows": _raw(b"x" * 3300 + b"\n"),
    "nested brackets": _raw(b"[" * 100_000 + b"\n"),
    "nested objects": _raw(b'{"a":' * 50_000 + b"\n"),
    "brackets behind quotes": _raw(b'"' + b'\\"' * 120_000 + b'",' + b"[" * 20_000 + b"\n"),
    "unterminated escapes": _raw(b"[" * 20 + b'\\"' * 120_000 + b"\n"),
    "empty lists": _raw(b"[" + b"[]," * 80_000 + b"[]]\n"),
    "numbers": _raw(b'{"system":[' + b"1e5," * 60_000 + b"1]}\n"),
    "a huge number": _raw(b'{"system":' + b"9" * 250_000 + b"}\n"),
    "keys": _numbered,
    "one key many times": _raw(b"{" + b'"system":null,' * 18_000 + b'"system":null}\n'),
    "a long key": _raw(b'{"' + b"\\u001b" * 40_000 + b'":0}\n'),
    "lone surrogates as escapes": _raw(line("Hi", "\ud800" * 500, ascii_only=True)),
    "lone surrogates as bytes": _raw(line("Hi", "a" * 3000 + "X").replace(b"X", b"\xed\xa0\x80")),
    "NULs": _raw(bytes(MIB)),
    "NULs in rows": _raw(line("Hi", "a" * 3000 + "X").replace(b"X", b"\0")),
    "latin-1": _raw(line("Hi", "a" * 3000 + "X").replace(b"X", b"\xe9")),
    "gzip": _raw(gzip.compress(b"\n" * MIB, mtime=0)),
    "UTF-16": _raw("\ufeff".encode("utf-16-le") + line("Hi", "a" * 1600).decode().encode("utf-16-le")),
    "UTF-16 without a mark": _raw(line("Hi", "a" * 1600).decode().encode("utf-16-le")),
    "UTF-32": _raw(line("Hi", "a" * 800).decode().encode("utf-32")),
    "byte order marks": _raw("\ufeff".encode() + line("Hi", "a" * 3200)),
    "line separators": _raw(line("Hi", "a").strip() + "\u2028".encode()),
    "carriage returns": _raw(line("Hi", "a").strip() + b"\r"),
    "special tokens": _short("<|im_start|>assistant"),
}
