"""An epoch's blocks, and the seed that all validators share."""

import hashlib

from flockoff.records import EpochStatus

_SEED_BYTES = 4


def epoch_seed(block_hash: bytes, netuid: int) -> int:
    """The epoch's seed, 0 <= seed < 2**32, unknown before the start block exists.

    It is the first 4 bytes of BLAKE2b-256(``block_hash`` ‖ ``netuid`` as u16 LE), read little-endian.
    ``block_hash``: the 32 bytes of the start block's hash. Raises ValueError for another length, or a
    ``netuid`` that is not a u16.
    """
    if len(block_hash) != 32:
        raise ValueError(f"a block hash has 32 bytes, not {len(block_hash)}")
    if not 0 <= netuid < 2**16:
        raise ValueError(f"netuid {netuid} is not a u16")
    digest = hashlib.blake2b(block_hash + netuid.to_bytes(2, "little"), digest_size=32).digest()
    return int.from_bytes(digest[:_SEED_BYTES], "little")


def epoch_of(status: EpochStatus, blocks_per_epoch: int | None) -> tuple[int, int]:
    """``(start, end)`` of the epoch that contains ``status.block``: its first block, and the next epoch's
    first.

    With None it is the subnet's epoch on chain. With N, epochs start at multiples of N blocks, whatever the
    chain's tempo: the same for every validator that uses the same N. Raises ValueError for N < 1.
    """
    if blocks_per_epoch is None:
        return status.start_block, status.next_start_block
    if blocks_per_epoch < 1:
        raise ValueError(f"an epoch has at least one block, not {blocks_per_epoch}")
    start = status.block - status.block % blocks_per_epoch
    return start, start + blocks_per_epoch
