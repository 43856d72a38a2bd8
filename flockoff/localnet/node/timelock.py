"""Sealed weights: when they are decrypted, and the beacon that makes that possible.

The SDK seals weights for a round of the Drand "quicknet" beacon, under that network's public key, which is
built into its codec. Nobody can open them before the round's signature is published, the local node no more
than anyone: there is no local key and no way around. So it does what the real chain does. Commits wait under
the epoch they were made in. In the block in which the epoch ``RevealPeriodEpochs`` later fires, before
consensus is made, those are opened whose pulse is in ``Drand.Pulses``; the blocks after it open what comes
later, and what is still sealed when the next epoch fires is dropped.

The pulse comes from Drand's public servers, asked for (see ``due_rounds`` and ``fetch_signature``) once its
time has come: the chain's off-chain worker in its simplest form. Without internet commits stay sealed and
expire, as on a real local chain. Where that matters, run with commit-reveal off, or have sudo write a pulse
into storage.
"""

import logging
from collections.abc import Collection
from hashlib import sha256

import bittensor_core

from flockoff.localnet.node import subnets
from flockoff.localnet.node.calls.weights import apply_weights
from flockoff.localnet.node.context import Context
from flockoff.localnet.node.errors import DispatchFailed
from flockoff.localnet.node.metadata_patch import compact, read_compact
from flockoff.localnet.node.runtime import as_bytes
from flockoff.localnet.node.state import Reader, State

_log = logging.getLogger(__name__)

DRAND_GENESIS = 1_692_803_367  # quicknet's first round, Unix seconds
DRAND_PERIOD = 3  # seconds

_ITEM = "TimelockedWeightCommits"


def round_time(round_number: int) -> int:
    """When a round's signature is published, Unix seconds."""
    return DRAND_GENESIS + (round_number - 1) * DRAND_PERIOD


def reveal(context: Context, fired: Collection[int]) -> None:
    """Decrypt what can be decrypted in this block, on every subnet. ``fired``: whose epoch fires in it."""
    state = context.state
    for netuid in subnets.netuids(state):
        epoch = state.subtensor("SubnetEpochIndex", netuid) + (netuid in fired)
        period = state.subtensor("RevealPeriodEpochs", netuid)
        for mechanism in subnets.mechanisms(state, netuid):
            index = subnets.storage_index(netuid, mechanism)
            for committed_in, queue in state.entries("SubtensorModule", _ITEM, index):
                if committed_in + period < epoch:
                    state.remove("SubtensorModule", _ITEM, index, committed_in)
                    _log.warning("%d sealed weight commits of subnet %d expired unopened", len(queue), netuid)
                elif committed_in + period == epoch:
                    _open_queue(context, netuid, mechanism, committed_in, queue)


def _open_queue(
    context: Context, netuid: int, mechanism: int, committed_in: int, queue: list[tuple[str, int, str, int]]
) -> None:
    state, index = context.state, subnets.storage_index(netuid, mechanism)
    waiting = []
    for hotkey, block, sealed, reveal_round in queue:
        pulse = state.read("Drand", "Pulses", reveal_round)
        if pulse is None:
            waiting.append((hotkey, block, as_bytes(sealed), reveal_round))
            continue
        try:
            dests, values, version_key = unseal(
                as_bytes(sealed), reveal_round, as_bytes(pulse["signature"]), hotkey
            )
            with state.storage.transaction():
                apply_weights(context, hotkey, netuid, mechanism, dests, values, version_key, sealed=True)
        except (ValueError, DispatchFailed) as error:
            _log.warning("the sealed weights of %s on subnet %d are void: %s", hotkey, netuid, error)
            continue
        context.event("TimelockedWeightsRevealed", (index, hotkey))
    if len(waiting) == len(queue):
        return
    if waiting:
        state.put(_ITEM, index, committed_in, waiting)
    else:
        state.remove("SubtensorModule", _ITEM, index, committed_in)


def unseal(
    sealed: bytes, reveal_round: int, signature: bytes, hotkey: str
) -> tuple[list[int], list[int], int]:
    """Open a commit with its round's signature: uids, values, version key.

    Raises:
        ValueError: it does not open, or it was made for another hotkey.
    """
    try:
        return _unseal(sealed, reveal_round, signature, hotkey)
    except IndexError as error:
        raise ValueError("the payload ends too early") from error


def _unseal(
    sealed: bytes, reveal_round: int, signature: bytes, hotkey: str
) -> tuple[list[int], list[int], int]:
    envelope = compact(len(sealed)) + sealed + reveal_round.to_bytes(8, "little")
    payload = bytes(bittensor_core.decrypt_with_signature(envelope, signature.hex()))
    length, at = read_compact(payload, 0)
    author = payload[at : at + length]
    if author != bytes(bittensor_core.decode_ss58(hotkey)):
        raise ValueError("the payload names another hotkey")
    uids, at = _read_u16s(payload, at + length)
    values, at = _read_u16s(payload, at)
    return uids, values, int.from_bytes(payload[at : at + 8], "little")


def _read_u16s(data: bytes, at: int) -> tuple[list[int], int]:
    count, at = read_compact(data, at)
    end = at + 2 * count
    return [int.from_bytes(data[i : i + 2], "little") for i in range(at, end, 2)], end


def due_rounds(state: Reader, now: float) -> list[int]:
    """The rounds that sealed weights wait for and that are published by ``now`` (Unix seconds)."""
    return sorted(
        {
            reveal_round
            for netuid in subnets.netuids(state)
            for mechanism in subnets.mechanisms(state, netuid)
            for _epoch, queue in state.entries(
                "SubtensorModule", _ITEM, subnets.storage_index(netuid, mechanism)
            )
            for _hotkey, _block, _sealed, reveal_round in queue
            if round_time(reveal_round) <= now and not state.has("Drand", "Pulses", reveal_round)
        }
    )


def fetch_signature(round_number: int) -> bytes | None:
    """A round's signature from Drand's public servers; None if none of them has it. Blocks."""
    try:
        return bytes.fromhex(bittensor_core.get_signature_for_round(round_number))
    except ValueError as error:
        _log.warning("Drand round %d cannot be had, weights sealed for it stay so: %s", round_number, error)
        return None


def store_pulse(state: State, round_number: int, signature: bytes) -> None:
    """Put a pulse where the chain's off-chain worker puts it."""
    randomness = sha256(signature).digest()
    pulse = {"round": round_number, "randomness": randomness, "signature": signature}
    state.write("Drand", "Pulses", round_number, pulse)
    state.write("Drand", "LastStoredRound", max(round_number, state.read("Drand", "LastStoredRound")))
