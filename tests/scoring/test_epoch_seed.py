import pytest

from flockoff.records import EpochStatus
from flockoff.scoring import epoch_of, epoch_seed

HASH = bytes(range(32))


def test_epoch_seed_known_hash_is_as_b2sum_has_it() -> None:
    # printf the 34 bytes 00 01 … 1f 7f 00 | b2sum -l 256  ->  86cbe9e3 d3311b39 …; 0xe3e9cb86 little-endian
    assert epoch_seed(HASH, 127) == 0xE3E9CB86 == 3823750022


def test_epoch_seed_other_subnet_or_block_differs() -> None:
    assert len({epoch_seed(HASH, 127), epoch_seed(HASH, 127 << 8), epoch_seed(bytes(32), 127)}) == 3
    assert epoch_seed(HASH, 0) != epoch_seed(HASH, 2**16 - 1)  # the first subnet, and the last


@pytest.mark.parametrize(
    ("block_hash", "netuid"), [(HASH[:31], 1), (HASH + b"0", 1), (HASH, -1), (HASH, 2**16)]
)
def test_epoch_seed_not_a_hash_or_netuid_is_refused(block_hash: bytes, netuid: int) -> None:
    with pytest.raises(ValueError, match=r"hash|u16"):
        epoch_seed(block_hash, netuid)


def status(block: int) -> EpochStatus:
    return EpochStatus(block=block, start_block=1003, next_start_block=1364, seconds_per_block=12.0)


def test_epoch_of_by_default_is_the_chains_own() -> None:
    assert epoch_of(status(1100), None) == (1003, 1364)


@pytest.mark.parametrize(("block", "expected"), [(1079, (720, 1080)), (1080, (1080, 1440)), (0, (0, 360))])
def test_epoch_of_a_number_of_blocks_is_counted_from_block_0(block: int, expected: tuple[int, int]) -> None:
    assert epoch_of(status(block), 360) == expected
    assert epoch_of(status(block), 1) == (block, block + 1)


def test_epoch_of_no_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one block"):
        epoch_of(status(1100), 0)
