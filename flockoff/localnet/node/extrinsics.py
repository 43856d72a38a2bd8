"""Signed extrinsics, version 4: decoded, with their signatures checked over the real signing payload."""

from dataclasses import dataclass

import bittensor_core

from flockoff.localnet.node.blocks import digest, hexed
from flockoff.localnet.node.errors import BAD_PROOF, Refused, invalid_transaction
from flockoff.localnet.node.metadata_patch import compact, read_compact
from flockoff.localnet.node.runtime import SS58_FORMAT, Runtime, Value

_SIGNED_V4, _UNSIGNED_V4 = 0x84, 0x04
_ACCOUNT_ID = 0x00  # MultiAddress::Id
_SIGNATURE_KINDS = (0, 1)  # ed25519, sr25519: the schemes the codec can verify
_SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class Era:
    """How long a transaction lives: ``period`` blocks from the block where it was born; immortal when 0."""

    period: int
    phase: int

    def birth(self, current: int) -> int:
        """The block in which a transaction that is valid at ``current`` was born; genesis if immortal."""
        if not self.period:
            return 0
        return (max(current, self.phase) - self.phase) // self.period * self.period + self.phase

    @property
    def as_payload(self) -> str | dict[str, int]:
        """The era in the form that the codec's signing payload takes."""
        return {"period": self.period, "phase": self.phase} if self.period else "00"


@dataclass(frozen=True)
class Extrinsic:
    """A decoded signed extrinsic. ``call`` holds the raw bytes that the signature covers."""

    data: bytes
    signer: str
    signature_kind: int
    signature: bytes
    era: Era
    nonce: int
    tip: int
    call: bytes

    @property
    def hash(self) -> str:
        """0x-hex BLAKE2b-256 of the whole extrinsic."""
        return hexed(digest(self.data))


def inherent(call: bytes) -> bytes:
    """An unsigned extrinsic that carries ``call``: what a block author puts first."""
    body = bytes([_UNSIGNED_V4]) + call
    return compact(len(body)) + body


def parse(data: bytes) -> Extrinsic:
    """Decode a signed extrinsic.

    Raises:
        Refused: the bytes are not a signed extrinsic of version 4 with an account as its address.
    """
    try:
        return _parse(data)
    except (IndexError, ValueError) as error:
        raise Refused(1001, "Extrinsic has invalid format", str(error)) from error


def _parse(data: bytes) -> Extrinsic:
    length, at = read_compact(data, 0)
    if length != len(data) - at:
        raise ValueError("the length does not match")
    if data[at] != _SIGNED_V4 or data[at + 1] != _ACCOUNT_ID:
        raise ValueError("not a version 4 extrinsic signed by an account")
    signer = bittensor_core.encode_ss58(data[at + 2 : at + 34], SS58_FORMAT)
    kind = data[at + 34]
    signature = data[at + 35 : at + 35 + _SIGNATURE_BYTES]
    era, at = _parse_era(data, at + 35 + _SIGNATURE_BYTES)
    nonce, at = read_compact(data, at)
    tip, at = read_compact(data, at)
    if data[at] != 0:
        raise ValueError("CheckMetadataHash is not supported by the local node")
    return Extrinsic(data, signer, kind, signature, era, nonce, tip, data[at + 1 :])


def _parse_era(data: bytes, at: int) -> tuple[Era, int]:
    if data[at] == 0:
        return Era(0, 0), at + 1
    encoded = int.from_bytes(data[at : at + 2], "little")
    period = 2 << (encoded % 16)
    return Era(period, (encoded >> 4) * max(period >> 12, 1)), at + 2


def verify(runtime: Runtime, extrinsic: Extrinsic, *, genesis_hash: bytes, birth_hash: bytes) -> None:
    """Check the signature over call, era, nonce, tip, spec and transaction version, genesis and birth block.

    Raises:
        Refused: the signature is not one of ``extrinsic.signer`` over exactly that.
    """
    payload = runtime.core.signature_payload(
        extrinsic.call,
        era=extrinsic.era.as_payload,
        nonce=extrinsic.nonce,
        tip=extrinsic.tip,
        tip_asset_id=None,
        genesis_hash=genesis_hash,
        era_block_hash=birth_hash,
        metadata_hash=None,
    )
    kind = extrinsic.signature_kind
    known = kind in _SIGNATURE_KINDS
    if not known or not bittensor_core.verify_signature(
        bytes(payload), extrinsic.signature, extrinsic.signer, kind
    ):
        raise invalid_transaction(BAD_PROOF)


@dataclass(frozen=True)
class Call:
    """A decoded call."""

    pallet: str
    function: str
    args: dict[str, Value]

    @property
    def name(self) -> tuple[str, str]:
        """(pallet, function)."""
        return self.pallet, self.function


def decoded_call(value: Value) -> Call:
    """The call in the codec's dict, which is also what nested calls look like."""
    args = {arg["name"]: arg["value"] for arg in value["call_args"]}
    return Call(value["call_module"], value["call_function"], args)


def decode_call(runtime: Runtime, data: bytes) -> Call:
    """Decode raw call bytes.

    Raises:
        Refused: the runtime has no such call, or its arguments are malformed.
    """
    try:
        return decoded_call(runtime.core.decode_call(data))
    except (ValueError, KeyError) as error:
        raise Refused(1001, "Extrinsic has invalid format", str(error)) from error
