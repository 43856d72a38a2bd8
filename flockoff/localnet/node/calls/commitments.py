"""``Commitments``: what hotkeys publish on a subnet.

Only the latest commitment of a hotkey is kept, with the block of its last change. A hotkey may write
``MaxSpace`` bytes (3,100) in an epoch, and each commitment counts as at least 100. Timelocked fields are
stored sealed and stay so.
"""

from collections.abc import Mapping

from flockoff.localnet.node import subnets
from flockoff.localnet.node.context import Context, Handler
from flockoff.localnet.node.errors import CUSTOM_RATE_LIMITED, ModuleError, custom_error
from flockoff.localnet.node.runtime import Value, as_bytes

_SMALLEST_SPACE = 100  # bytes; the least that the pallet counts for a commitment


def _set_commitment(context: Context, args: dict[str, Value]) -> None:
    state, who, netuid, info = context.state, context.signer, args["netuid"], args["info"]
    if subnets.uid_of(state, netuid, who) is None:
        raise ModuleError("Commitments", "AccountNotAllowedCommit")
    fields = info["fields"]
    if len(fields) > state.runtime.constant("Commitments", "MaxFields"):
        raise ModuleError("Commitments", "TooManyFieldsInCommitmentInfo")
    _use_space(context, netuid, max(sum(_space(field) for field in fields), _SMALLEST_SPACE))
    deposit = state.runtime.constant("Commitments", "InitialDeposit")
    deposit += len(fields) * state.runtime.constant("Commitments", "FieldDeposit")
    registration = {"deposit": deposit, "block": context.block, "info": info}
    state.write("Commitments", "CommitmentOf", netuid, who, registration)
    state.write("Commitments", "LastCommitment", netuid, who, context.block)
    context.emit("Commitments", "Commitment", {"netuid": netuid, "who": who})


def _space(field: Value) -> int:
    """The bytes that one field takes: RawN takes N, a hash 32, a sealed payload what it holds."""
    if isinstance(field, str):
        return 0
    ((_kind, payload),) = field.items()
    if isinstance(payload, dict):
        return len(as_bytes(payload["encrypted"]))
    return len(as_bytes(payload))


def _use_space(context: Context, netuid: int, space: int) -> None:
    state, who = context.state, context.signer
    epoch = state.subtensor("SubnetEpochIndex", netuid)
    usage = state.read("Commitments", "UsedSpaceOf", netuid, who)
    used = usage["used_space"] if usage and usage["last_epoch"] == epoch else 0
    if used + space > state.read("Commitments", "MaxSpace"):
        raise ModuleError("Commitments", "SpaceLimitExceeded")
    state.write("Commitments", "UsedSpaceOf", netuid, who, {"last_epoch": epoch, "used_space": used + space})


def _set_max_space(context: Context, args: dict[str, Value]) -> None:
    context.ensure_root()
    context.state.write("Commitments", "MaxSpace", args["new_limit"])


def check_admission(context: Context, args: dict[str, Value]) -> None:
    """The cooldown of older runtimes, where the node is started with one. Spec 461 has no dispatch error for
    it any more, so the pool says it.

    Raises:
        Refused: the hotkey's last commitment is too recent.
    """
    cooldown = context.settings.commitment_cooldown
    if not cooldown or "netuid" not in args:
        return
    last = context.state.read("Commitments", "LastCommitment", args["netuid"], context.signer)
    if last is not None and context.block < last + cooldown:
        raise custom_error(CUSTOM_RATE_LIMITED)


CALLS: Mapping[tuple[str, str], Handler] = {
    ("Commitments", "set_commitment"): _set_commitment,
    ("Commitments", "set_max_space"): _set_max_space,
}
