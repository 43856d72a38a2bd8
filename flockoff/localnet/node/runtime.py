"""The runtime's types: one object that encodes and decodes everything the node stores and sends."""

import contextlib
import json
import lzma
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import bittensor_core

from flockoff.localnet.node.metadata_patch import patch_metadata

SPEC_NAME = "node-subtensor"
SPEC_VERSION = 461
TRANSACTION_VERSION = 1
SS58_FORMAT = 42
_KEPT_KEYS = 16384
METADATA_FILE = "metadata-v15-spec461.scale.xz"

Value = Any
"""What the codec gives and takes: ints, strings, bytes, lists and dicts as the runtime's types say."""


class Runtime:
    """Spec 461 with the block time ``slot_milliseconds``; ``epoch_consensus`` is ``NodeSettings``'.

    Accounts are ss58 strings throughout, byte strings go in as ``bytes``.
    """

    def __init__(self, slot_milliseconds: int, *, epoch_consensus: bool = True) -> None:
        packed = files(__package__).joinpath(METADATA_FILE).read_bytes()
        recorded = lzma.decompress(packed)
        plain = _core_runtime(recorded)
        self.metadata: bytes = patch_metadata(
            recorded,
            netuid_type=_type_id(plain.storage_entry("SubtensorModule", "Tempo").param_types[0]),
            u64_type=_type_id(plain.storage_entry("Timestamp", "Now").value_type),
            slot_milliseconds=slot_milliseconds,
            epoch_consensus=epoch_consensus,
        )
        self.core = _core_runtime(self.metadata)
        self.slot_milliseconds = slot_milliseconds
        self.entry = lru_cache(maxsize=None)(self.core.storage_entry)
        # A block needs some fifty keys, nearly all of which the block before needed as well.
        self._cached_key = lru_cache(maxsize=_KEPT_KEYS)(self._key)

    def key(self, pallet: str, item: str, *params: Value) -> bytes:
        """The storage key of an item; with fewer params than the item has, the prefix of a map."""
        return self._cached_key(pallet, item, params)

    def _key(self, pallet: str, item: str, params: tuple[Value, ...]) -> bytes:
        return bytes(self.core.storage_key(pallet, item, list(params)))

    def encode(self, type_string: str, value: Value) -> bytes:
        """``value`` in SCALE. ``None`` is for an ``Option``."""
        return b"\x00" if value is None else bytes(self.core.encode(type_string, value))

    def decode(self, type_string: str, data: bytes) -> Value:
        """The plain value of SCALE bytes."""
        return self.core.decode(type_string, data)

    def encode_item(self, pallet: str, item: str, value: Value) -> bytes:
        """A value in the type of a storage item."""
        return self.encode(self.entry(pallet, item).value_type, value)

    def decode_item(self, pallet: str, item: str, data: bytes | None) -> Value:
        """A stored value, or, for ``None``, the item's value if absent (its default, or None)."""
        entry = self.entry(pallet, item)
        if data is None:
            if entry.modifier == "Optional":
                return None
            data = bytes(entry.default_bytes)
        return self.core.decode(entry.value_type, data)

    def map_key(self, pallet: str, item: str, key: bytes, fixed: int) -> Value:
        """The last component of a map's storage key, ``fixed`` components being known."""
        return self.core.decode_storage_key_params(pallet, item, key, fixed)[-1]

    def constant(self, pallet: str, name: str) -> Value:
        """A pallet's constant."""
        return self.core.constant(pallet, name)

    @cached_property
    def event_record_type(self) -> str:
        """The type of one entry of ``System.Events``."""
        registry = self._types
        events = _type_id(self.entry("System", "Events").value_type)
        return f"scale_info::{registry[events]['def']['sequence']['type']}"

    @cached_property
    def _types(self) -> dict[int, dict[str, Any]]:
        return {entry["id"]: entry["type"] for entry in json.loads(self.core.registry_json())["types"]}

    @cached_property
    def errors(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(pallet, error name) -> (pallet index, error index)."""
        return {
            (pallet["name"], error["name"]): (pallet["index"], error["index"])
            for pallet in self.core.metadata_ir()["pallets"]
            for error in pallet["errors"]
        }

    @cached_property
    def apis(self) -> dict[str, tuple[list[str], str]]:
        """``Api_method`` -> (types of the inputs, type of the output)."""
        return {
            f"{api}_{method}": ([kind for _name, kind in shape["inputs"]], shape["output"])
            for api, methods in self.core.runtime_api_map().items()
            for method, shape in methods.items()
        }

    @cached_property
    def version(self) -> dict[str, Value]:
        """What ``state_getRuntimeVersion`` answers."""
        version = self.constant("System", "Version")
        return {
            "specName": version["spec_name"],
            "implName": version["impl_name"],
            "authoringVersion": version["authoring_version"],
            "specVersion": version["spec_version"],
            "implVersion": version["impl_version"],
            "apis": [list(api) for api in version["apis"]],
            "transactionVersion": version["transaction_version"],
            "stateVersion": version["system_version"],
        }


def _type_id(type_string: str) -> int:
    return int(type_string.removeprefix("scale_info::"))


@lru_cache
def shared_runtime(slot_milliseconds: int, *, epoch_consensus: bool = True) -> Runtime:
    """A runtime, cached: it never changes, so all nodes of a process share it."""
    return Runtime(slot_milliseconds, epoch_consensus=epoch_consensus)


def _core_runtime(metadata: bytes) -> Any:
    return bittensor_core.Runtime(metadata, SPEC_VERSION, TRANSACTION_VERSION, SS58_FORMAT)


def as_bytes(value: Value) -> bytes:
    """The bytes of a decoded ``Vec<u8>``: the codec returns text if it is UTF-8, else 0x-hex."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        if value.startswith("0x"):
            with contextlib.suppress(ValueError):  # text that merely begins like hex
                return bytes.fromhex(value[2:])
        return value.encode()
    return bytes(value)
