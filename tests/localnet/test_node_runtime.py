"""Metadata, types and extrinsics against vectors recorded from a real spec 461 node, and against damage."""

import bittensor_core
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flockoff.localnet.node.chain import LocalChain
from flockoff.localnet.node.errors import Refused
from flockoff.localnet.node.extrinsics import Era, decode_call, parse
from flockoff.localnet.node.fees import fee_of
from flockoff.localnet.node.metadata_patch import compact, patch_metadata, read_compact
from flockoff.localnet.node.runtime import Runtime, as_bytes
from flockoff.localnet.node.settings import NodeSettings

ALICE = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"

# A mortal transfer from tests/fixtures/golden.json of the bittensor 11.3.0 source distribution.
EXTRINSIC = bytes.fromhex(
    "35028400d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d010102030405060708090a0b"
    "0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b"
    "3c3d3e3f4025002c00000503008eaf04151687736326c9fea17e25fc5287613693c912909cb226aa4794f26a48e5c0"
)
EXTRINSIC_HASH = "0xb5e1c30f6da7e2a335003ba340581245c07ca75ee128421679a09eb46bc7bb54"
ACCOUNT_KEY = (
    "26aa394eea5630e07c48ae0c9558cef7b99d880ec681799c0cf30e8886371da9"
    "de1e86a9a8c739864cf3cc5ec2bea59fd43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d"
)


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(100)


@pytest.fixture(scope="module")
def chain() -> LocalChain:
    return LocalChain(NodeSettings(block_seconds=0))


def test_metadata_has_the_block_time_and_the_item_that_spec_461_lacks(runtime: Runtime) -> None:
    assert runtime.constant("Aura", "SlotDuration") == 100
    assert runtime.constant("Timestamp", "MinimumPeriod") == 50
    for data, value in ((None, "Yuma"), (b"\x01", "Null")):
        assert runtime.decode_item("SubtensorModule", "SubnetEpochConsensus", data) == value


def test_metadata_patch_changes_nothing_else(runtime: Runtime) -> None:
    other = Runtime(12_000)

    assert len(other.metadata) == len(runtime.metadata)
    assert other.errors == runtime.errors
    assert runtime.key("System", "Account", ALICE).hex() == ACCOUNT_KEY


def test_metadata_of_another_runtime_is_not_patched(runtime: Runtime) -> None:
    with pytest.raises(ValueError, match="exactly once"):
        patch_metadata(runtime.metadata[:1000], netuid_type=1, u64_type=1, slot_milliseconds=1)


@given(st.integers(0, 2**30 - 1), st.binary(max_size=3))
@example(63, b"")
@example(64, b"")
@example(2**14 - 1, b"")
@example(2**14, b"")
def test_compact_reads_back(value: int, tail: bytes) -> None:
    encoded = compact(value)

    assert read_compact(encoded + tail, 0) == (value, len(encoded))


def test_as_bytes_undoes_what_the_codec_makes_of_bytes(runtime: Runtime) -> None:
    for data in (b"", b"text", b"\xff\x00", b"\xce\xb1"):
        decoded = runtime.decode("Vec<u8>", compact(len(data)) + data)
        assert as_bytes(decoded) == data


def test_extrinsic_recorded_parses_as_recorded(runtime: Runtime) -> None:
    extrinsic = parse(EXTRINSIC)

    assert (extrinsic.signer, extrinsic.nonce, extrinsic.tip) == (ALICE, 11, 0)
    assert extrinsic.era == Era(64, 2)
    assert extrinsic.hash == EXTRINSIC_HASH
    assert decode_call(runtime, extrinsic.call).name == ("Balances", "transfer_keep_alive")


def test_era_birth_is_that_of_the_sdk() -> None:
    for current in range(200):
        assert Era(64, current % 64).birth(current) == bittensor_core.era_birth(64, current)


def test_era_birth_holds_for_its_whole_period() -> None:
    assert [Era(8, 3).birth(block) for block in range(3, 12)] == [3] * 8 + [11]


def test_fee_is_that_of_the_recorded_receipt() -> None:
    assert fee_of(143) == 166_247  # a transfer of 143 bytes


@given(st.integers(0, len(EXTRINSIC) - 1), st.integers(1, 255))
def test_submit_damaged_extrinsic_is_refused(chain: LocalChain, at: int, flip: int) -> None:
    damaged = bytearray(EXTRINSIC)
    damaged[at] ^= flip

    with pytest.raises(Refused):
        chain.submit(bytes(damaged), lambda status: None)


@given(st.binary(max_size=200))
def test_submit_garbage_is_refused(chain: LocalChain, data: bytes) -> None:
    with pytest.raises(Refused):
        chain.submit(data, lambda status: None)


@given(st.integers(0, len(EXTRINSIC)))
def test_submit_cut_extrinsic_is_refused(chain: LocalChain, length: int) -> None:
    with pytest.raises(Refused):
        chain.submit(EXTRINSIC[:length], lambda status: None)
