"""Weights sealed for a round of the Drand beacon that is over, so that they open without the network."""

from typing import Any

import bittensor_core

from flockoff.localnet.node.metadata_patch import compact
from tests.support.local_chain import Bench, calls, must

# Round 1000 of Drand's quicknet, as published.
ROUND = 1000
NEVER = 2**40
PULSE = bytes.fromhex(
    "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"
)


def sealed_for_round(
    hotkey: bytes, uids: list[int], values: list[int], *, version_key: int = 0, at: int = ROUND
) -> tuple[bytes, int]:
    """The SDK's payload of sealed weights, sealed by the SDK for round ``at``, and that round."""

    def u16s(numbers: list[int]) -> bytes:
        return compact(len(numbers)) + b"".join(number.to_bytes(2, "little") for number in numbers)

    payload = compact(len(hotkey)) + hotkey + u16s(uids) + u16s(values) + version_key.to_bytes(8, "little")
    envelope, _round = bittensor_core.encrypt_at_round(payload, at)
    return bytes(bittensor_core.inner_ciphertext(envelope)), at


def seal(bench: Bench, by: Any, sealed: tuple[bytes, int], *, netuid: int = 1, version: int = 4) -> Any:
    """Submit sealed weights."""
    commit, reveal_round = sealed
    call = calls.SubtensorModule.commit_timelocked_mechanism_weights(
        netuid=netuid, mecid=0, commit=commit, reveal_round=reveal_round, commit_reveal_version=version
    )
    return bench.submit(call, by, signer="hotkey")


def publish_pulse(bench: Bench) -> None:
    """Have root write the pulse where the chain's off-chain worker would."""
    runtime = bench.node._chain.runtime
    pulse = {"round": ROUND, "randomness": bytes(32), "signature": PULSE}
    item = (runtime.key("Drand", "Pulses", ROUND), runtime.encode_item("Drand", "Pulses", pulse))
    must(bench.sudo(calls.System.set_storage(items=[item])))
