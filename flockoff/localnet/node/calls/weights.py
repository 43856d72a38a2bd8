"""``SubtensorModule``: weights, in the clear or sealed until a later epoch."""

from collections.abc import Mapping

from flockoff.localnet.node import subnets
from flockoff.localnet.node.blocks import digest
from flockoff.localnet.node.context import Context, Handler
from flockoff.localnet.node.errors import (
    CUSTOM_INVALID_REVEAL_ROUND,
    CUSTOM_RATE_LIMITED,
    CUSTOM_STAKE_TOO_LOW,
    custom_error,
    subtensor_error,
)
from flockoff.localnet.node.extrinsics import Call
from flockoff.localnet.node.runtime import Value, as_bytes
from flockoff.localnet.node.state import Reader

_MAX_UNREVEALED = 10  # sealed commits of one hotkey in one epoch


def _set_weights(context: Context, args: dict[str, Value]) -> None:
    netuid, mechanism = args["netuid"], args.get("mecid", 0)
    if context.state.subtensor("CommitRevealWeightsEnabled", netuid):
        raise subtensor_error("CommitRevealEnabled")
    uid = apply_weights(
        context,
        context.signer,
        netuid,
        mechanism,
        args["dests"],
        args["weights"],
        args["version_key"],
        sealed=False,
    )
    index = subnets.storage_index(netuid, mechanism)
    subnets.set_element(context.state, "LastUpdate", index, uid, context.block)


def apply_weights(
    context: Context,
    hotkey: str,
    netuid: int,
    mechanism: int,
    dests: list[int],
    values: list[int],
    version_key: int,
    *,
    sealed: bool,
) -> int:
    """Check weights and store them for ``hotkey``; returns its uid.

    Args:
        sealed: they were committed sealed, so the rate limit was checked then.

    Raises:
        DispatchFailed: with the error of the first check they fail, in the chain's order.
    """
    state = context.state
    if len(dests) != len(values):
        raise subtensor_error("WeightVecNotEqualSize")
    _check_mechanism(state, netuid, mechanism)
    if len(dests) > subnets.size(state, netuid):
        raise subtensor_error("UidsLengthExceedUidsInSubNet")
    uid = _check_author(context, hotkey, netuid)
    required = state.subtensor("WeightsVersionKey", netuid)
    if required and version_key < required:
        raise subtensor_error("IncorrectWeightVersionKey")
    index = subnets.storage_index(netuid, mechanism)
    if not sealed and not _rested(context, netuid, index, uid):
        raise subtensor_error("SettingWeightsTooFast")
    _check_values(context, netuid, uid, dests)
    top = max(values, default=0) or 1
    upscaled = ((2 * value * subnets.U16_MAX + top) // (2 * top) for value in values)  # to the nearest
    state.put("Weights", index, uid, list(zip(dests, upscaled, strict=True)))
    context.event("WeightsSet", (index, uid))
    return uid


def _check_mechanism(state: Reader, netuid: int, mechanism: int) -> None:
    if netuid == subnets.ROOT:
        raise subtensor_error("CanNotSetRootNetworkWeights")
    if not subnets.exists(state, netuid) or mechanism not in subnets.mechanisms(state, netuid):
        raise subtensor_error("MechanismDoesNotExist")


def _check_author(context: Context, hotkey: str, netuid: int) -> int:
    """The uid that may have weights on this subnet; raises ``DispatchFailed`` if there is none."""
    state = context.state
    uid = subnets.uid_of(state, netuid, hotkey)
    if uid is None:
        raise subtensor_error("HotKeyNotRegisteredInSubNet")
    if not _has_stake(context, hotkey, netuid):
        raise subtensor_error("NotEnoughStakeToSetWeights")
    return uid


def _check_values(context: Context, netuid: int, uid: int, dests: list[int]) -> None:
    """Check permit, uids and their number. A validator may always put everything on itself."""
    state = context.state
    n = subnets.size(state, netuid)
    on_itself = dests == [uid]
    owner = state.subtensor("Keys", netuid, uid) == subnets.owner_of(state, netuid)[0]
    permits = subnets.vector(state, "ValidatorPermit", netuid, n, False)
    if not (on_itself or owner or permits[uid]):
        raise subtensor_error("NeuronNoValidatorPermit")
    if len(set(dests)) != len(dests):
        raise subtensor_error("DuplicateUids")
    if any(dest >= n for dest in dests):
        raise subtensor_error("UidVecContainInvalidOne")
    if not on_itself and len(dests) < min(n, state.subtensor("MinAllowedWeights", netuid)):
        raise subtensor_error("WeightVecLengthIsLow")


def _has_stake(context: Context, hotkey: str, netuid: int) -> bool:
    """Whether the hotkey has enough stake for weights; the subnet owner's needs none."""
    if hotkey == subnets.owner_of(context.state, netuid)[0]:
        return True
    threshold: int = context.state.subtensor("StakeThreshold")
    return subnets.stake_weight(context.state, hotkey, netuid) >= threshold


def _rested(context: Context, netuid: int, index: int, uid: int) -> bool:
    """Whether the rate limit lets ``uid`` set or commit weights now. Registration counts as an update."""
    updates = context.state.subtensor("LastUpdate", index)
    last = updates[uid] if uid < len(updates) else 0
    return bool(last == 0 or context.block - last >= context.state.subtensor("WeightsSetRateLimit", netuid))


def _commit_timelocked(context: Context, args: dict[str, Value]) -> None:
    state, who = context.state, context.signer
    netuid, mechanism, commit = args["netuid"], args.get("mecid", 0), as_bytes(args["commit"])
    _check_mechanism(state, netuid, mechanism)
    uid = _check_author(context, who, netuid)
    if not state.subtensor("CommitRevealWeightsEnabled", netuid):
        raise subtensor_error("CommitRevealDisabled")
    if args["commit_reveal_version"] != state.subtensor("CommitRevealWeightsVersion"):
        raise subtensor_error("IncorrectCommitRevealVersion")
    if args["reveal_round"] < state.read("Drand", "LastStoredRound"):
        raise subtensor_error("InvalidRevealRound")
    index = subnets.storage_index(netuid, mechanism)
    if not _rested(context, netuid, index, uid):
        raise subtensor_error("CommittingWeightsTooFast")
    epoch = state.subtensor("SubnetEpochIndex", netuid)
    queue = [
        (hotkey, block, as_bytes(sealed), reveal_round)
        for hotkey, block, sealed, reveal_round in state.subtensor("TimelockedWeightCommits", index, epoch)
    ]
    if sum(hotkey == who for hotkey, *_rest in queue) >= _MAX_UNREVEALED:
        raise subtensor_error("TooManyUnrevealedCommits")
    queue.append((who, context.block, commit, args["reveal_round"]))
    state.put("TimelockedWeightCommits", index, epoch, queue)
    subnets.set_element(state, "LastUpdate", index, uid, context.block)
    context.event("TimelockedWeightsCommitted", (who, index, digest(commit), args["reveal_round"]))


def check_admission(context: Context, call: Call) -> None:
    """Stake, rate limit and reveal round, which Subtensor's transaction extension checks before inclusion.

    Raises:
        Refused: with the custom error number of the first that fails.
    """
    netuid, args, hotkey = call.args["netuid"], call.args, context.signer
    if not _has_stake(context, hotkey, netuid):
        raise custom_error(CUSTOM_STAKE_TOO_LOW)
    if "reveal_round" in args:
        if args["reveal_round"] < context.state.read("Drand", "LastStoredRound"):
            raise custom_error(CUSTOM_INVALID_REVEAL_ROUND)
        return
    uid = subnets.uid_of(context.state, netuid, hotkey)
    plain = not context.state.subtensor("CommitRevealWeightsEnabled", netuid)
    index = subnets.storage_index(netuid, args.get("mecid", 0))
    if plain and uid is not None and not _rested(context, netuid, index, uid):
        raise custom_error(CUSTOM_RATE_LIMITED)


CALLS: Mapping[tuple[str, str], Handler] = {
    ("SubtensorModule", "set_weights"): _set_weights,
    ("SubtensorModule", "set_mechanism_weights"): _set_weights,
    ("SubtensorModule", "commit_timelocked_weights"): _commit_timelocked,
    ("SubtensorModule", "commit_timelocked_mechanism_weights"): _commit_timelocked,
}
