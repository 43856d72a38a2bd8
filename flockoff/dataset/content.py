"""Canonical rows, their order, and the content hash, independent of the file's layout.

The definition, so that anyone can compute the same:

- A row's canonical bytes are the JSON Canonicalization Scheme (RFC 8785) of
  ``{"conversations": [{"content": …, "role": …}, …], "system": …}``: keys in that order, no white space,
  UTF-8, in strings only the escapes that JSON demands. An absent ``system`` is ``null``; ``""`` is not.
- A row's digest is the SHA-256 of its canonical bytes.
- The content hash is the SHA-256 of all rows' digests (32 bytes each), sorted as byte strings and put one
  after the other; 64 lower-case hex digits. A row that occurs twice contributes its digest twice.

Test vector: one row, no system, user ``Hi``, assistant ``Hello``. Canonical bytes
``{"conversations":[{"content":"Hi","role":"user"},{"content":"Hello","role":"assistant"}],"system":null}``,
digest ``2e76fa976208ac2093965ff86b18a48ae68932d7787b2f8eba8a7af6796c3498``,
content hash ``5c8d2105b2d11d343a0c1081c31a948bbbf11a7d78e5bfa8a8a728a610356009``.
"""

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256

from flockoff.records import Row

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def canonical_bytes(row: Row) -> bytes:
    """The row in RFC 8785 form. The text must be encodable, as rows read from files are."""
    conversations = [{"content": turn.content, "role": turn.role} for turn in row.turns]
    return _ENCODER.encode({"conversations": conversations, "system": row.system}).encode("utf-8")


def row_digest(row: Row) -> bytes:
    """The 32 bytes of the row's SHA-256."""
    return sha256(canonical_bytes(row)).digest()


class ContentHasher:
    """The content hash of streamed rows; keeps 32 bytes of each."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []

    def add(self, row: Row) -> None:
        self._digests.append(row_digest(row))

    def repeated(self) -> int:
        """How many of the rows so far are repetitions."""
        return len(self._digests) - len(set(self._digests))

    def hexdigest(self) -> str:
        """The content hash of the rows so far."""
        return sha256(b"".join(sorted(self._digests))).hexdigest()


def content_hash(rows: Iterable[Row]) -> str:
    """64 hex digits; the same for the same rows in any order."""
    hasher = ContentHasher()
    for row in rows:
        hasher.add(row)
    return hasher.hexdigest()


def canonical_order(rows: Sequence[Row]) -> list[Row]:
    """The rows sorted by digest, independent of the file's order."""
    return sorted(rows, key=row_digest)
