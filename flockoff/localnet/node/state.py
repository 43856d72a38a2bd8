"""Typed access to storage: pallet, item and params in, plain values out."""

from typing import Protocol

from flockoff.localnet.node.runtime import Runtime, Value
from flockoff.localnet.node.storage import Storage

NULL_ACCOUNT = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
"""The account of 32 zero bytes: what the runtime gives for "nobody"."""


class Readable(Protocol):
    """Raw storage that can be read: the head, or one block's view."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def keys(self, prefix: bytes) -> list[bytes]:
        """The keys with a prefix, sorted."""


class Reader:
    """Reads storage items of one state by name."""

    def __init__(self, runtime: Runtime, raw: Readable) -> None:
        self.runtime = runtime
        self._raw = raw

    def read(self, pallet: str, item: str, *params: Value) -> Value:
        """The value of an item; if it is absent, the runtime's value for that."""
        data = self._raw.get(self.runtime.key(pallet, item, *params))
        return self.runtime.decode_item(pallet, item, data)

    def has(self, pallet: str, item: str, *params: Value) -> bool:
        """Whether the item is stored."""
        return self._raw.get(self.runtime.key(pallet, item, *params)) is not None

    def entries(self, pallet: str, item: str, *prefix: Value) -> list[tuple[Value, Value]]:
        """All (last key component, value) of a map under ``prefix``, which leaves one component open."""
        keys = self._raw.keys(self.runtime.key(pallet, item, *prefix))
        return [
            (
                self.runtime.map_key(pallet, item, key, len(prefix)),
                self.runtime.decode_item(pallet, item, self._raw.get(key)),
            )
            for key in keys
        ]

    def subtensor(self, item: str, *params: Value) -> Value:
        """``read`` in ``SubtensorModule``, which is read most."""
        return self.read("SubtensorModule", item, *params)

    @property
    def block(self) -> int:
        """The number of the block this state belongs to."""
        return int(self.read("System", "Number"))


class State(Reader):
    """The head's state, writable."""

    def __init__(self, runtime: Runtime, storage: Storage) -> None:
        super().__init__(runtime, storage)
        self.storage = storage

    def write(self, pallet: str, item: str, *params_and_value: Value) -> None:
        """Store the last argument under the item and the params before it."""
        *params, value = params_and_value
        self.storage.set(
            self.runtime.key(pallet, item, *params), self.runtime.encode_item(pallet, item, value)
        )

    def put(self, item: str, *params_and_value: Value) -> None:
        """``write`` in ``SubtensorModule``."""
        self.write("SubtensorModule", item, *params_and_value)

    def remove(self, pallet: str, item: str, *params: Value) -> None:
        """Remove an item, or with fewer params than it has, everything under that prefix."""
        for key in self.storage.keys(self.runtime.key(pallet, item, *params)):
            self.storage.set(key, None)
