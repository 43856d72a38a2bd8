"""``SubtensorModule``: creating a subnet, and registering on one.

The price of a uid, ``Burn``, rises by ``BurnIncreaseMult`` with each registration and halves in
``BurnHalfLife`` blocks. Simpler than the chain: there is no limit of registrations per block or interval, and
the price of a subnet stays at its minimum.
"""

from collections.abc import Mapping

from flockoff.localnet.node import accounts, subnets
from flockoff.localnet.node.context import Context, Handler
from flockoff.localnet.node.errors import DispatchFailed, TokenError, subtensor_error
from flockoff.localnet.node.runtime import Value
from flockoff.localnet.node.state import Reader, State

_NETWORK_LAST_REGISTERED = "NetworkLastRegistered"
_GREEK_ALPHA = 0x3B1
_STABLE_MECHANISM = 0  # the chain's kind of subnet in which one alpha is one TAO
_FIRST_PRICE = 1_000_000_000  # rao for a uid on a new subnet


def network_cost(state: Reader) -> int:
    """The price of a subnet, in rao."""
    return int(state.subtensor("NetworkMinLockCost"))


def _register_network(context: Context, args: dict[str, Value]) -> None:
    state, coldkey, hotkey = context.state, context.signer, args["hotkey"]
    _check_network_rate_limit(context)
    count = len(subnets.netuids(state)) - 1
    if count >= state.subtensor("SubnetLimit"):
        raise subtensor_error("SubnetLimitReached")
    cost = network_cost(state)
    _pay(context, coldkey, cost, "CannotAffordLockCost")
    subnets.associate(context, coldkey, hotkey)
    netuid = next(candidate for candidate in range(1, count + 2) if not subnets.exists(state, candidate))
    _write_subnet(context, netuid, coldkey, hotkey, cost)
    state.put("LastRateLimitedBlock", _NETWORK_LAST_REGISTERED, context.block)
    subnets.register(context, netuid, hotkey)
    context.event("NetworkAdded", (netuid, _STABLE_MECHANISM))


def _check_network_rate_limit(context: Context) -> None:
    last = context.state.subtensor("LastRateLimitedBlock", _NETWORK_LAST_REGISTERED)
    if last and context.block - last < context.state.subtensor("NetworkRateLimit"):
        raise subtensor_error("NetworkTxRateLimitExceeded")


def _write_subnet(context: Context, netuid: int, coldkey: str, hotkey: str, cost: int) -> None:
    """What a new subnet starts with. First epochs are spread by netuid."""
    state, settings = context.state, context.settings
    values: dict[str, Value] = {
        "NetworksAdded": True,
        "SubnetworkN": 0,
        "SubnetOwner": coldkey,
        "SubnetOwnerHotkey": hotkey,
        "NetworkRegisteredAt": context.block,
        "SubnetMechanism": _STABLE_MECHANISM,
        "SubnetLocked": cost,
        "SubnetTAO": cost,
        "SubnetAlphaIn": cost,
        "TokenSymbol": chr(_GREEK_ALPHA + netuid - 1).encode(),
        "Tempo": settings.tempo,
        "LastEpochBlock": max(0, context.block - (context.block + netuid) % max(settings.tempo, 1)),
        "LastMechansimStepBlock": context.block,
        "BlocksSinceLastStep": 0,
        "SubnetEpochIndex": 0,
        "CommitRevealWeightsEnabled": settings.commit_reveal,
        "WeightsSetRateLimit": settings.weights_rate_limit,
        "MinAllowedWeights": 1,
        "MaxAllowedUids": state.subtensor("MaxAllowedUids", netuid),
        "MaxAllowedValidators": 64,
        "ImmunityPeriod": 5000,
        "MechanismCountCurrent": 1,
        "Yuma3On": True,
        "Burn": _FIRST_PRICE,
        "SubtokenEnabled": False,
    }
    if settings.epoch_consensus:
        values["SubnetEpochConsensus"] = "Yuma"
    for item, value in values.items():
        state.put(item, netuid, value)
    state.put("TotalNetworks", state.subtensor("TotalNetworks") + 1)


def _start_call(context: Context, args: dict[str, Value]) -> None:
    state, netuid = context.state, args["netuid"]
    ensure_exists(context, netuid)
    if state.subtensor("SubnetOwner", netuid) != context.signer:
        raise DispatchFailed("BadOrigin")
    if state.has("SubtensorModule", "FirstEmissionBlockNumber", netuid):
        raise subtensor_error("FirstEmissionBlockNumberAlreadySet")
    ready_at = state.subtensor("NetworkRegisteredAt", netuid) + state.subtensor("StartCallDelay")
    if context.block < ready_at:
        raise subtensor_error("NeedWaitingMoreBlocksToStarCall")
    state.put("FirstEmissionBlockNumber", netuid, context.block + 1)
    state.put("SubtokenEnabled", netuid, True)
    context.event("FirstEmissionBlockNumberSet", (netuid, context.block + 1))


def _burned_register(context: Context, args: dict[str, Value]) -> None:
    state, netuid, hotkey = context.state, args["netuid"], args["hotkey"]
    coldkey = context.signer
    if netuid == subnets.ROOT:
        raise subtensor_error("RegistrationNotPermittedOnRootSubnet")
    ensure_exists(context, netuid)
    if not state.subtensor("NetworkRegistrationAllowed", netuid):
        raise subtensor_error("SubNetRegistrationDisabled")
    _register_for(context, netuid, coldkey, hotkey)


def _register_limit(context: Context, args: dict[str, Value]) -> None:
    if context.state.subtensor("Burn", args["netuid"]) > args["limit_price"]:
        raise subtensor_error("RegistrationPriceLimitExceeded")
    _burned_register(context, args)


def _root_register(context: Context, args: dict[str, Value]) -> None:
    _register_for(context, subnets.ROOT, context.signer, args["hotkey"])


def _register_for(context: Context, netuid: int, coldkey: str, hotkey: str) -> None:
    state = context.state
    if subnets.uid_of(state, netuid, hotkey) is not None:
        raise subtensor_error("HotKeyAlreadyRegisteredInSubNet")
    _pay(context, coldkey, state.subtensor("Burn", netuid), "NotEnoughBalanceToStake")
    subnets.associate(context, coldkey, hotkey)
    subnets.register(context, netuid, hotkey)
    if netuid != subnets.ROOT:
        rise = state.subtensor("BurnIncreaseMult", netuid)["bits"]
        _set_price(state, netuid, state.subtensor("Burn", netuid) * rise // subnets.U64F64_ONE)


def decay_prices(context: Context) -> None:
    """Lower the price of a uid on every subnet by a block's decay."""
    state = context.state
    for netuid in subnets.netuids(state):
        half_life = state.subtensor("BurnHalfLife", netuid)
        if netuid != subnets.ROOT and half_life:
            _set_price(state, netuid, int(state.subtensor("Burn", netuid) * 0.5 ** (1 / half_life)))


def _set_price(state: State, netuid: int, price: int) -> None:
    lowest, highest = state.subtensor("MinBurn", netuid), state.subtensor("MaxBurn", netuid)
    state.put("Burn", netuid, max(lowest, min(price, highest)))


def _try_associate_hotkey(context: Context, args: dict[str, Value]) -> None:
    subnets.associate(context, context.signer, args["hotkey"])


def _pay(context: Context, coldkey: str, amount: int, error: str) -> None:
    try:
        accounts.debit(context.state, coldkey, amount, context.emit)
    except TokenError as poor:
        raise subtensor_error(error) from poor


def ensure_exists(context: Context, netuid: int) -> None:
    """Raises ``DispatchFailed`` unless the subnet exists."""
    if not subnets.exists(context.state, netuid):
        raise subtensor_error("SubnetNotExists")


CALLS: Mapping[tuple[str, str], Handler] = {
    ("SubtensorModule", "register_network"): _register_network,
    ("SubtensorModule", "start_call"): _start_call,
    ("SubtensorModule", "burned_register"): _burned_register,
    ("SubtensorModule", "register_limit"): _register_limit,
    ("SubtensorModule", "root_register"): _root_register,
    ("SubtensorModule", "try_associate_hotkey"): _try_associate_hotkey,
}
