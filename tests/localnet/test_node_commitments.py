"""Commitments: rights, size, rate, fees, and reading them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flockoff.localnet.node import NodeSettings
from tests.support.local_chain import FAST, Subnet, block_of, calls, commitment, error_of, must

TEXT = b"yourusername/my-dataset:f127:0123456789abcdef0123456789abcdef01234567"


def commit(subnet: Subnet, data: bytes) -> Any:
    """Commit ``data`` as the miner."""
    return subnet.submit(commitment(data), subnet.miner, signer="hotkey")


def test_commitment_success_is_in_the_metagraph_with_its_block(subnet: Subnet) -> None:
    result = must(commit(subnet, TEXT))

    found = subnet.client.subnets.metagraph(1).commitments[2]
    assert found.value == TEXT.decode()
    assert found.block == block_of(result)
    assert subnet.client.subnets.metagraph(1).commitments[1] is None


def test_commitment_again_replaces_the_text_and_the_block(subnet: Subnet) -> None:
    must(commit(subnet, b"first"))
    first = subnet.client.subnets.commitments(1)[subnet.miner.hotkey.ss58_address]
    must(commit(subnet, b"second"))
    second = subnet.client.subnets.commitments(1)[subnet.miner.hotkey.ss58_address]

    assert (first.value, second.value) == ("first", "second")
    assert second.block > first.block


def test_commitment_fee_is_taken_from_the_coldkey_that_owns_the_hotkey(subnet: Subnet) -> None:
    coldkey, hotkey = subnet.miner.coldkeypub.ss58_address, subnet.miner.hotkey.ss58_address
    before = subnet.free(coldkey)

    fee = must(commit(subnet, TEXT)).fee.rao

    assert subnet.free(coldkey) == before - fee
    assert subnet.free(hotkey) == 0


def test_commitment_of_an_unregistered_hotkey_is_not_allowed(subnet: Subnet) -> None:
    assert error_of(subnet.submit(commitment(TEXT), subnet.alice)) == "AccountNotAllowedCommit"


def test_commitment_quota_is_by_epoch_and_counts_at_least_a_hundred_bytes(subnet: Subnet) -> None:
    must(subnet.sudo(calls.Commitments.set_max_space(new_limit=250)))
    subnet.next_epoch()

    must(commit(subnet, b"a"))  # 100
    must(commit(subnet, b"b" * 120))  # 220
    assert error_of(commit(subnet, b"c")) == "SpaceLimitExceeded"

    subnet.next_epoch()
    must(commit(subnet, b"c"))


def test_commitment_quota_is_3100_bytes_at_first(subnet: Subnet) -> None:
    assert subnet.client.query(("Commitments", "MaxSpace"), []) == 3100


@pytest.mark.slow
def test_commitment_within_the_cooldown_is_refused_by_the_pool(
    subnet_of: Callable[[NodeSettings], Subnet],
) -> None:
    subnet = subnet_of(replace(FAST, commitment_cooldown=1000))
    block = block_of(must(commit(subnet, b"one")))

    assert error_of(commit(subnet, b"two")) == "RateLimitExceeded"

    subnet.node.advance(block + 999 - subnet.node.block)
    must(commit(subnet, b"two"))
