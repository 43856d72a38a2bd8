"""When an epoch runs, and what it writes.

An epoch starts in block ``LastEpochBlock + Tempo``, before that block's extrinsics, or earlier where the
owner asked for one; of all subnets at most ``MaxEpochsPerBlock`` have theirs in one block. What it decides
comes from ``yuma.run_epoch``. Once the subnet is started, one alpha a block is paid out at each epoch: 18% to
the owner, the rest by emission share; a miner's part becomes its coldkey's stake, of a validator's part its
coldkey takes 18% and its stakers get the rest, and the incentive of every hotkey of the owner's coldkey is
not minted, which is how weights on it burn.
"""

from collections.abc import Collection

import numpy as np

from flockoff.localnet.node import subnets
from flockoff.localnet.node.context import Context
from flockoff.localnet.node.state import NULL_ACCOUNT, Reader, State
from flockoff.yuma import Floats, Ints, YumaInputs, YumaResult, as_u16, run_epoch

ALPHA_PER_BLOCK = 1_000_000_000  # rao
_MILLION = 1_000_000
_NEVER = 2**62  # after any block


def next_start(state: Reader, netuid: int) -> int | None:
    """The block in which the next epoch starts; None for a subnet without a tempo."""
    tempo = state.subtensor("Tempo", netuid)
    if not tempo:
        return None
    scheduled = int(state.subtensor("LastEpochBlock", netuid)) + int(tempo)
    pending = int(state.subtensor("PendingEpochAt", netuid))
    return min(scheduled, pending) if pending else scheduled


def due(context: Context) -> frozenset[int]:
    """The subnets whose epoch fires in this block."""
    state = context.state
    starts = [(next_start(state, netuid), netuid) for netuid in subnets.netuids(state)]
    late = sorted((at, netuid) for at, netuid in starts if netuid != subnets.ROOT and at is not None)
    fired = [netuid for at, netuid in late if context.block >= at]
    return frozenset(fired[: state.subtensor("MaxEpochsPerBlock")])


def step(context: Context, fired: Collection[int]) -> None:
    """Run the epochs of the subnets in ``fired``, and count the blocks of the others."""
    state = context.state
    for netuid in subnets.netuids(state):
        if netuid in fired:
            _run(context, netuid)
        else:
            since = state.subtensor("BlocksSinceLastStep", netuid)
            state.put("BlocksSinceLastStep", netuid, since + 1)


def _run(context: Context, netuid: int) -> None:
    state = context.state
    inputs = _inputs(context, netuid)
    result = run_epoch(inputs)
    state.put("Active", netuid, [bool(active) for active in inputs.active])
    _write(state, netuid, result)
    _pay(context, netuid, result)
    state.put("LastEpochBlock", netuid, context.block)
    state.put("LastMechansimStepBlock", netuid, context.block)
    state.put("SubnetEpochIndex", netuid, state.subtensor("SubnetEpochIndex", netuid) + 1)
    state.put("BlocksSinceLastStep", netuid, 0)
    state.put("PendingEpochAt", netuid, 0)


def activity_cutoff(state: Reader, netuid: int) -> int:
    """Blocks without new weights after which a neuron counts as inactive."""
    factor: int = state.subtensor("ActivityCutoffFactorMilli", netuid)
    return factor * int(state.subtensor("Tempo", netuid)) // 1000


def _inputs(context: Context, netuid: int) -> YumaInputs:
    state = context.state
    hotkeys = subnets.hotkeys(state, netuid)
    n = len(hotkeys)
    stake = np.array([subnets.stake_weight(state, hotkey, netuid) for hotkey in hotkeys], dtype=np.float64)
    last_update = np.array(subnets.vector(state, "LastUpdate", netuid, n, 0), dtype=np.int64)
    registered = [state.subtensor("BlockAtRegistration", netuid, uid) for uid in range(n)]
    return YumaInputs(
        weights=_matrix(state, "Weights", netuid, n),
        stake=stake,
        stake_threshold=state.subtensor("StakeThreshold"),
        last_update=last_update,
        registered_at=np.array(registered, dtype=np.int64),
        active=last_update + activity_cutoff(state, netuid) >= context.block,
        validator_permit=np.array(subnets.vector(state, "ValidatorPermit", netuid, n, False), dtype=np.bool_),
        bonds=_matrix(state, "Bonds", netuid, n) / subnets.U16_MAX,
        kappa=state.subtensor("Kappa", netuid) / subnets.U16_MAX,
        bonds_penalty=state.subtensor("BondsPenalty", netuid) / subnets.U16_MAX,
        bonds_moving_average=state.subtensor("BondsMovingAverage", netuid) / _MILLION,
        max_validators=state.subtensor("MaxAllowedValidators", netuid),
        owner_uid=subnets.uid_of(state, netuid, state.subtensor("SubnetOwnerHotkey", netuid)),
        last_step=state.subtensor("LastMechansimStepBlock", netuid),
        committed=_first_commits(state, netuid, hotkeys),
        yuma3=bool(state.subtensor("Yuma3On", netuid)),
    )


def _first_commits(state: Reader, netuid: int, hotkeys: list[str]) -> Ints | None:
    """By uid, the block of the first unrevealed weights; None without commit-reveal."""
    if not state.subtensor("CommitRevealWeightsEnabled", netuid):
        return None
    first: dict[str, int] = {}
    for _epoch, queue in state.entries("SubtensorModule", "TimelockedWeightCommits", netuid):
        for hotkey, block, *_sealed in queue:
            first[hotkey] = min(block, first.get(hotkey, block))
    return np.array([first.get(hotkey, _NEVER) for hotkey in hotkeys], dtype=np.int64)


def _matrix(state: Reader, item: str, netuid: int, n: int) -> Floats:
    rows = np.zeros((n, n))
    for uid, row in state.entries("SubtensorModule", item, netuid):
        for dest, value in row:
            if uid < n and dest < n:
                rows[uid, dest] = value
    return rows


def _write(state: State, netuid: int, result: YumaResult) -> None:
    state.put("Consensus", netuid, as_u16(result.consensus).tolist())
    state.put("Incentive", netuid, as_u16(result.incentive).tolist())
    state.put("Dividends", netuid, as_u16(result.dividends).tolist())
    state.put("ValidatorTrust", netuid, as_u16(result.validator_trust).tolist())
    state.put("ValidatorPermit", netuid, [bool(permit) for permit in result.validator_permit])
    for uid, row in enumerate(as_u16(result.bonds).tolist()):
        sparse = [(dest, value) for dest, value in enumerate(row) if value]
        if sparse or state.has("SubtensorModule", "Bonds", netuid, uid):
            state.put("Bonds", netuid, uid, sparse)


def _pay(context: Context, netuid: int, result: YumaResult) -> None:
    state = context.state
    n = len(result.incentive)
    blocks = state.subtensor("BlocksSinceLastStep", netuid) + 1
    started = state.subtensor("FirstEmissionBlockNumber", netuid)
    if started is None or context.block < started:
        state.put("Emission", netuid, [0] * n)
        return
    total = ALPHA_PER_BLOCK * blocks
    owner_cut = total * state.subtensor("SubnetOwnerCut") // subnets.U16_MAX
    shares = (total - owner_cut) * result.emission_share
    state.put("Emission", netuid, [int(share) for share in shares])
    owner_hotkey, owner = subnets.owner_of(state, netuid)
    subnets.change_stake(state, owner_hotkey, owner, netuid, owner_cut)
    mined = (total - owner_cut) // 2 * result.incentive
    for uid, hotkey in enumerate(subnets.hotkeys(state, netuid)):
        to_miner = min(int(mined[uid]), int(shares[uid]))
        to_stakers = int(shares[uid]) - to_miner
        coldkey = state.subtensor("Owner", hotkey)
        if to_stakers and subnets.hotkey_alpha(state, hotkey, netuid):
            take = to_stakers * int(state.subtensor("Delegates", hotkey)) // subnets.U16_MAX
            subnets.change_stake(state, hotkey, coldkey, netuid, take)
            subnets.reward_stakers(state, netuid, hotkey, to_stakers - take)
        if to_miner and not subnets.is_owners(state, netuid, hotkey) and coldkey != NULL_ACCOUNT:
            subnets.change_stake(state, hotkey, coldkey, netuid, to_miner)
