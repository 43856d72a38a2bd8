"""Raw storage: key bytes to value bytes, every block's state readable while it is within the history."""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b


class Storage:
    """The state at the head and at each of the last ``history`` blocks.

    Changes belong to the block being made until ``seal`` closes it. Everything happens on one thread, and
    a block is made without interruption, so no reader sees half a block.
    """

    def __init__(self, history: int) -> None:
        self._history = history
        self._head: dict[bytes, bytes] = {}
        self._changed: set[bytes] = set()
        self._versions: dict[bytes, list[tuple[int, bytes | None]]] = {}
        self._keys: list[bytes] = []  # every key that is in some readable block, sorted
        self._undo: list[tuple[bytes, bytes | None]] | None = None
        self._removed: deque[tuple[int, bytes]] = deque()  # (block, key), oldest first

    def continue_from(self, other: "Storage") -> None:
        """Copy all of ``other``, whose last block is sealed; the two are independent afterwards."""
        assert not other._changed, "a block is being made"
        self._head = dict(other._head)
        self._versions = {key: list(versions) for key, versions in other._versions.items()}
        self._keys = list(other._keys)
        self._removed = deque(other._removed)
        self._changed.clear()

    def get(self, key: bytes) -> bytes | None:
        """The value now."""
        return self._head.get(key)

    def set(self, key: bytes, value: bytes | None) -> None:
        """Change the value in the block being made; ``None`` removes it."""
        if self._undo is not None:
            self._undo.append((key, self._head.get(key)))
        if value is None:
            self._head.pop(key, None)
        else:
            self._head[key] = value
        self._changed.add(key)

    def keys(self, prefix: bytes) -> list[bytes]:
        """The keys that start with ``prefix`` now, sorted."""
        known = [key for key in self._range(prefix) if key in self._head]
        fresh = [
            key
            for key in self._changed
            if key.startswith(prefix) and key in self._head and key not in self._versions
        ]
        return sorted(known + fresh)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Undo the changes made inside when an exception leaves the block (the exception goes on)."""
        outer, self._undo = self._undo, []
        try:
            yield
        except BaseException:
            for key, value in reversed(self._undo):
                if value is None:
                    self._head.pop(key, None)
                else:
                    self._head[key] = value
            self._undo = outer
            raise
        if outer is not None:
            outer.extend(self._undo)
        self._undo = outer

    def seal(self, block: int) -> bytes:
        """Close ``block``; returns the BLAKE2b-256 digest of its changes (sorted keys with their values)."""
        digest = blake2b(digest_size=32)
        horizon = block - self._history
        for key in sorted(self._changed):
            value = self._head.get(key)
            digest.update(len(key).to_bytes(4, "little") + key + (b"\0" if value is None else b"\1" + value))
            versions = self._versions.get(key)
            if versions is None:
                versions = self._versions[key] = []
                insort(self._keys, key)
            if versions and versions[-1][1] == value:
                continue
            versions.append((block, value))
            del versions[: max(0, _index_at(versions, horizon))]
            if value is None:
                self._removed.append((block, key))
        self._changed.clear()
        self._forget(horizon)
        return digest.digest()

    def _forget(self, horizon: int) -> None:
        """Drop the keys that were removed at ``horizon`` or before and not set again."""
        while self._removed and self._removed[0][0] <= horizon:
            removed_in, key = self._removed.popleft()
            if self._versions.get(key, [(0, b"")])[-1] == (removed_in, None):
                del self._versions[key]
                del self._keys[bisect_left(self._keys, key)]

    def rewind(self, block: int) -> None:
        """Restore the state as of ``block``'s sealing, and forget the blocks after it.

        ``block`` is within the history.
        """
        for key, versions in list(self._versions.items()):
            del versions[_index_at(versions, block) + 1 :]
            value = versions[-1][1] if versions else None
            if value is None:
                self._head.pop(key, None)
            else:
                self._head[key] = value
            if not versions:
                del self._versions[key]
                del self._keys[bisect_left(self._keys, key)]
        for key in self._changed - self._versions.keys():  # changes of a block not yet sealed
            self._head.pop(key, None)
        self._changed.clear()
        self._removed = deque(item for item in self._removed if item[0] <= block)

    def at(self, block: int) -> "View":
        """The state as it was when ``block`` was sealed."""
        return View(self, block)

    def _range(self, prefix: bytes, after: bytes = b"") -> Iterator[bytes]:
        start = (
            bisect_right(self._keys, after) if after >= prefix and after else bisect_left(self._keys, prefix)
        )
        for index in range(start, len(self._keys)):
            if not self._keys[index].startswith(prefix):
                return
            yield self._keys[index]

    def _get_at(self, key: bytes, block: int) -> bytes | None:
        versions = self._versions.get(key)
        if not versions:
            return None
        index = _index_at(versions, block)
        return versions[index][1] if index >= 0 else None


class View:
    """Storage as of one block."""

    def __init__(self, storage: Storage, block: int) -> None:
        self._storage = storage
        self.block = block

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key`` at this block."""
        return self._storage._get_at(key, self.block)

    def keys(self, prefix: bytes) -> list[bytes]:
        """The keys that start with ``prefix`` at this block, sorted."""
        return self.keys_paged(prefix, after=b"", count=None)

    def keys_paged(self, prefix: bytes, *, after: bytes, count: int | None) -> list[bytes]:
        """Up to ``count`` keys that start with ``prefix`` and come after ``after``."""
        found: list[bytes] = []
        for key in self._storage._range(prefix, after):
            if count is not None and len(found) >= count:
                break
            if self.get(key) is not None:
                found.append(key)
        return found


def _index_at(versions: list[tuple[int, bytes | None]], block: int) -> int:
    """Index of the version that holds at ``block``, -1 if there was none yet."""
    return bisect_right(versions, block, key=lambda version: version[0]) - 1
