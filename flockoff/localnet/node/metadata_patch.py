"""Two changes to the recorded metadata, made in its bytes.

1. ``SubtensorModule.SubnetEpochConsensus``: the SDK asks every subnet for its mode (an enum ``Yuma`` |
   ``Null`` by netuid) before it sets weights, and spec 461 does not have the item yet. The enum becomes the
   registry's last type, the item the pallet's first storage entry.
2. ``Aura.SlotDuration`` and ``Timestamp.MinimumPeriod``: the block time in milliseconds, and half of it. The
   SDK takes the block time from there for every wait.

The layout is SCALE's: ``meta``, version, then ``Vec<PortableType>``, ``Vec<PalletMetadata>``. Instead of
parsing it all, each change is anchored at a byte sequence that must occur exactly once.
"""


def compact(value: int) -> bytes:
    """SCALE's compact encoding of ``value``, below 2**30."""
    if value < 1 << 6:
        return bytes([value << 2])
    if value < 1 << 14:
        return ((value << 2) | 1).to_bytes(2, "little")
    if value < 1 << 30:
        return ((value << 2) | 2).to_bytes(4, "little")
    raise ValueError(f"{value} is too large for this encoder")


def read_compact(data: bytes, at: int) -> tuple[int, int]:
    """The compact integer at offset ``at``, and the offset after it."""
    mode = data[at] & 3
    if mode == 3:
        length = (data[at] >> 2) + 4
        return int.from_bytes(data[at + 1 : at + 1 + length], "little"), at + 1 + length
    width = (1, 2, 4)[mode]
    return int.from_bytes(data[at : at + width], "little") >> 2, at + width


def _text(value: str) -> bytes:
    return compact(len(value)) + value.encode()


def _only(data: bytes, needle: bytes) -> int:
    """The offset of the only occurrence of ``needle``.

    Raises:
        ValueError: it occurs never or more than once, so this is not the metadata the patch was written for.
    """
    at = data.find(needle)
    if at < 0 or data.find(needle, at + 1) >= 0:
        raise ValueError(f"metadata: {needle!r} should occur exactly once")
    return at


def _replace_u64_constant(data: bytes, name: str, u64_type: int, value: int) -> bytes:
    """Give the u64 constant ``name`` (name, type, ``Vec<u8>`` of 8 bytes) another value."""
    anchor = _text(name) + compact(u64_type) + compact(8)
    at = _only(data, anchor) + len(anchor)
    return data[:at] + value.to_bytes(8, "little") + data[at + 8 :]


def _append_unit_enum(data: bytes, path: str, variants: list[str]) -> tuple[bytes, int]:
    """Append an enum of unit variants to the type registry; also its new type id."""
    head = len(b"meta") + 1
    count, body = read_compact(data, head)
    # The registry ends where the pallets' count (one byte while there are fewer than 64) and System begin.
    end = _only(data, _text("System") + b"\x01" + _text("System")) - 1
    encoded = b"".join(
        _text(name) + compact(0) + bytes([index]) + compact(0) for index, name in enumerate(variants)
    )
    kind = compact(count) + compact(1) + _text(path) + compact(0)  # id, path, no type parameters
    kind += b"\x01" + compact(len(variants)) + encoded + compact(0)  # variant definition, no docs
    patched = data[:head] + compact(count + 1) + data[body:end] + kind + data[end:]
    return patched, count


def _insert_storage_map(data: bytes, pallet: str, name: str, key_type: int, value_type: int) -> bytes:
    """Insert a map with an Identity-hashed key and a one-byte default of zero into ``pallet``'s storage."""
    anchor = _text(pallet) + b"\x01" + _text(pallet)  # name, storage present, prefix
    at = _only(data, anchor) + len(anchor)
    count, body = read_compact(data, at)
    default_modifier, map_kind, identity_hasher = b"\x01", b"\x01", b"\x06"
    entry = _text(name) + default_modifier + map_kind + compact(1) + identity_hasher
    entry += compact(key_type) + compact(value_type) + compact(1) + b"\x00" + compact(0)
    return data[:at] + compact(count + 1) + entry + data[body:]


def patch_metadata(
    data: bytes, *, netuid_type: int, u64_type: int, slot_milliseconds: int, epoch_consensus: bool = True
) -> bytes:
    """``data`` (metadata V15 of spec 461) with both changes made.

    Args:
        netuid_type: the registry's id of ``NetUid``.
        u64_type: the registry's id of ``u64``.
        slot_milliseconds: the block time.
        epoch_consensus: whether to make the first change.
    """
    data = _replace_u64_constant(data, "SlotDuration", u64_type, slot_milliseconds)
    data = _replace_u64_constant(data, "MinimumPeriod", u64_type, slot_milliseconds // 2)
    if not epoch_consensus:
        return data
    data, consensus_type = _append_unit_enum(data, "SubnetEpochConsensus", ["Yuma", "Null"])
    return _insert_storage_map(data, "SubtensorModule", "SubnetEpochConsensus", netuid_type, consensus_type)
