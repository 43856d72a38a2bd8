"""Blocks as Substrate makes them: SCALE headers whose BLAKE2b-256 hash is the block's hash."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

from flockoff.localnet.node.errors import Refused
from flockoff.localnet.node.metadata_patch import compact

NO_PARENT = bytes(32)


def digest(*parts: bytes) -> bytes:
    """BLAKE2b-256 of the concatenated parts."""
    return blake2b(b"".join(parts), digest_size=32).digest()


def hexed(data: bytes) -> str:
    """0x-hex, as JSON-RPC carries bytes."""
    return "0x" + data.hex()


def unhexed(text: str) -> bytes:
    """The bytes of 0x-hex (the prefix may be missing).

    Raises:
        Refused: it is not hex.
    """
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except (AttributeError, ValueError) as error:
        raise Refused(-32602, "Invalid params", f"not hex: {str(text)[:80]!r}") from error


@dataclass(frozen=True)
class Header:
    """A block's header. ``slot`` is the Aura slot its author claims to have had."""

    number: int
    parent_hash: bytes
    state_root: bytes
    extrinsics_root: bytes
    slot: int

    @property
    def _log(self) -> bytes:
        pre_runtime = b"\x06"
        return pre_runtime + b"aura" + compact(8) + self.slot.to_bytes(8, "little")

    @cached_property
    def hash(self) -> bytes:
        """The block's hash."""
        logs = compact(1) + self._log
        return digest(self.parent_hash, compact(self.number), self.state_root, self.extrinsics_root, logs)

    def as_json(self) -> dict[str, Any]:
        """The header as ``chain_getHeader`` answers."""
        return {
            "parentHash": hexed(self.parent_hash),
            "number": hex(self.number),
            "stateRoot": hexed(self.state_root),
            "extrinsicsRoot": hexed(self.extrinsics_root),
            "digest": {"logs": [hexed(self._log)]},
        }


@dataclass(frozen=True)
class Block:
    """A header and the extrinsics under it, inherents first."""

    header: Header
    extrinsics: tuple[bytes, ...]

    @property
    def number(self) -> int:
        """Height; genesis is 0."""
        return self.header.number

    @property
    def hash(self) -> str:
        """0x-hex hash."""
        return hexed(self.header.hash)

    def as_json(self) -> dict[str, Any]:
        """The block as ``chain_getBlock`` answers."""
        extrinsics = [hexed(extrinsic) for extrinsic in self.extrinsics]
        return {
            "block": {"header": self.header.as_json(), "extrinsics": extrinsics},
            "justifications": None,
        }
