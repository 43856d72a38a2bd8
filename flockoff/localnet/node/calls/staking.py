"""``SubtensorModule``: stake, at the fixed price of one TAO for one alpha and without a swap fee."""

from collections.abc import Mapping

from flockoff.localnet.node import accounts, subnets
from flockoff.localnet.node.calls.registration import ensure_exists
from flockoff.localnet.node.context import Context, Handler
from flockoff.localnet.node.errors import subtensor_error
from flockoff.localnet.node.runtime import Value

PRICE_RAO = 1_000_000_000
"""Rao for one whole alpha."""


def _add_stake(context: Context, args: dict[str, Value]) -> None:
    state, coldkey = context.state, context.signer
    hotkey, netuid, amount = args["hotkey"], args["netuid"], args["amount_staked"]
    _check(context, hotkey, netuid, amount)
    if accounts.free(state, coldkey) - amount < accounts.EXISTENTIAL_DEPOSIT:
        raise subtensor_error("NotEnoughBalanceToStake")
    accounts.debit(state, coldkey, amount, context.emit)
    subnets.change_stake(state, hotkey, coldkey, netuid, amount)
    _change_pool(context, netuid, amount)
    context.event("StakeAdded", (coldkey, hotkey, amount, amount, netuid, 0))


def _remove_stake(context: Context, args: dict[str, Value]) -> None:
    state, coldkey = context.state, context.signer
    hotkey, netuid, amount = args["hotkey"], args["netuid"], args["amount_unstaked"]
    _check(context, hotkey, netuid, amount)
    if subnets.stake_of(state, hotkey, coldkey, netuid) < amount:
        raise subtensor_error("NotEnoughStakeToWithdraw")
    subnets.change_stake(state, hotkey, coldkey, netuid, -amount)
    _change_pool(context, netuid, -amount)
    accounts.credit(state, coldkey, amount, context.emit)
    context.event("StakeRemoved", (coldkey, hotkey, amount, amount, netuid, 0))


def _add_stake_limit(context: Context, args: dict[str, Value]) -> None:
    if args["limit_price"] < PRICE_RAO:
        raise subtensor_error("SlippageTooHigh")
    _add_stake(context, args)


def _remove_stake_limit(context: Context, args: dict[str, Value]) -> None:
    if args["limit_price"] > PRICE_RAO:
        raise subtensor_error("SlippageTooHigh")
    _remove_stake(context, args)


def _check(context: Context, hotkey: str, netuid: int, amount: int) -> None:
    state = context.state
    ensure_exists(context, netuid)
    if not state.subtensor("SubtokenEnabled", netuid):
        raise subtensor_error("SubtokenDisabled")
    if not subnets.is_registered_anywhere(state, hotkey):
        raise subtensor_error("HotKeyAccountNotExists")
    if amount < state.runtime.constant("SubtensorModule", "InitialMinStake"):
        raise subtensor_error("AmountTooLow")


def _change_pool(context: Context, netuid: int, amount: int) -> None:
    """Both reserves change equally, so their ratio, the price, stays one."""
    state = context.state
    for item in ("SubnetTAO", "SubnetAlphaIn", "SubnetAlphaOut"):
        state.put(item, netuid, max(0, state.subtensor(item, netuid) + amount))
    state.put("TotalStake", max(0, state.subtensor("TotalStake") + amount))


CALLS: Mapping[tuple[str, str], Handler] = {
    ("SubtensorModule", "add_stake"): _add_stake,
    ("SubtensorModule", "add_stake_limit"): _add_stake_limit,
    ("SubtensorModule", "remove_stake"): _remove_stake,
    ("SubtensorModule", "remove_stake_limit"): _remove_stake_limit,
}
