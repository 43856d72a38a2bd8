"""Subnets, uids, ownership and stake: what calls, epoch and runtime APIs share.

Vectors such as ``Active`` or ``LastUpdate`` hold one element per uid. A mechanism's own vectors are found
under its storage index ``mechanism * 4096 + netuid``; mechanism 0 is the subnet itself.
"""

from flockoff.localnet.node import accounts
from flockoff.localnet.node.context import Context
from flockoff.localnet.node.errors import subtensor_error
from flockoff.localnet.node.runtime import Value
from flockoff.localnet.node.state import NULL_ACCOUNT, Reader, State

ROOT = 0
SUBNETS_PER_MECHANISM = 4096
U16_MAX = 65535
U64F64_ONE = 1 << 64

# The subnet's vectors in which a uid has an element, with what a newcomer gets.
_SUBNET_VECTORS: dict[str, Value] = {
    "Active": True,
    "Consensus": 0,
    "Dividends": 0,
    "Emission": 0,
    "ValidatorTrust": 0,
    "ValidatorPermit": False,
}


def storage_index(netuid: int, mechanism: int) -> int:
    """Where a mechanism's vectors, weights and bonds are stored."""
    return mechanism * SUBNETS_PER_MECHANISM + netuid


def netuids(state: Reader) -> list[int]:
    """All subnets, root first."""
    return sorted(netuid for netuid, added in state.entries("SubtensorModule", "NetworksAdded") if added)


def exists(state: Reader, netuid: int) -> bool:
    """Whether there is such a subnet."""
    return bool(state.subtensor("NetworksAdded", netuid))


def size(state: Reader, netuid: int) -> int:
    """The number of uids."""
    return int(state.subtensor("SubnetworkN", netuid))


def hotkeys(state: Reader, netuid: int) -> list[str]:
    """The hotkeys by uid."""
    return [state.subtensor("Keys", netuid, uid) for uid in range(size(state, netuid))]


def uid_of(state: Reader, netuid: int, hotkey: str) -> int | None:
    """The uid of a hotkey, None when it is not registered there."""
    uid: int | None = state.subtensor("Uids", netuid, hotkey)
    return uid


def is_registered_anywhere(state: Reader, hotkey: str) -> bool:
    """Whether the hotkey has a coldkey that owns it."""
    return bool(state.subtensor("Owner", hotkey) != NULL_ACCOUNT)


def mechanisms(state: Reader, netuid: int) -> range:
    """The indices of a subnet's mechanisms."""
    return range(state.subtensor("MechanismCountCurrent", netuid))


def vector(state: Reader, item: str, index: int, n: int, default: Value) -> list[Value]:
    """A per-uid vector, padded to ``n`` elements."""
    values: list[Value] = list(state.subtensor(item, index))[:n]
    return values + [default] * (n - len(values))


def set_element(state: State, item: str, index: int, uid: int, value: Value) -> None:
    """Change one element of a per-uid vector, which grows with zeros as far as it must."""
    values = vector(state, item, index, max(uid + 1, len(state.subtensor(item, index))), type(value)())
    values[uid] = value
    state.put(item, index, values)


# -- registration -------------------------------------------------------------------------------------


def associate(context: Context, coldkey: str, hotkey: str) -> None:
    """Make ``coldkey`` the owner of ``hotkey``, unless it has one.

    Raises:
        DispatchFailed: it belongs to another coldkey.
    """
    state = context.state
    owner = state.subtensor("Owner", hotkey)
    if owner == coldkey:
        return
    if owner != NULL_ACCOUNT:
        raise subtensor_error("NonAssociatedColdKey")
    state.put("Owner", hotkey, coldkey)
    for item in ("OwnedHotkeys", "StakingHotkeys"):
        known = state.subtensor(item, coldkey)
        if hotkey not in known:
            state.put(item, coldkey, [*known, hotkey])
    accounts.add_provider(state, hotkey)


def register(context: Context, netuid: int, hotkey: str) -> int:
    """Give ``hotkey`` a uid: a new one, or on a full subnet that of the weakest neuron out of immunity.

    Raises:
        DispatchFailed: the subnet is full and everyone on it is immune.
    """
    state = context.state
    n = size(state, netuid)
    if n < state.subtensor("MaxAllowedUids", netuid):
        uid = n
        state.put("SubnetworkN", netuid, n + 1)
    else:
        uid = _weakest(context, netuid, n)
        _evict(state, netuid, uid)
    _seat(context, netuid, uid, hotkey)
    context.event("NeuronRegistered", (netuid, uid, hotkey))
    return uid


def replace(context: Context, netuid: int, uid: int, hotkey: str) -> None:
    """Give ``uid``, whoever has it, to ``hotkey``."""
    _evict(context.state, netuid, uid)
    _seat(context, netuid, uid, hotkey)


def _evict(state: State, netuid: int, uid: int) -> None:
    evicted = state.subtensor("Keys", netuid, uid)
    state.remove("SubtensorModule", "Uids", netuid, evicted)
    state.remove("SubtensorModule", "IsNetworkMember", evicted, netuid)
    state.remove("SubtensorModule", "Axons", netuid, evicted)


def _seat(context: Context, netuid: int, uid: int, hotkey: str) -> None:
    state = context.state
    state.put("Uids", netuid, hotkey, uid)
    state.put("Keys", netuid, uid, hotkey)
    state.put("IsNetworkMember", hotkey, netuid, True)
    state.put("BlockAtRegistration", netuid, uid, context.block)
    for item, value in _SUBNET_VECTORS.items():
        set_element(state, item, netuid, uid, value)
    for mechanism in mechanisms(state, netuid):
        index = storage_index(netuid, mechanism)
        set_element(state, "Incentive", index, uid, 0)
        set_element(state, "LastUpdate", index, uid, context.block)
        state.remove("SubtensorModule", "Weights", index, uid)
        state.remove("SubtensorModule", "Bonds", index, uid)


def _weakest(context: Context, netuid: int, n: int) -> int:
    """The uid to evict: lowest emission, then earliest registration, then lowest uid; never the owner's."""
    state = context.state
    immunity = state.subtensor("ImmunityPeriod", netuid)
    owner = state.subtensor("SubnetOwnerHotkey", netuid)
    emission = vector(state, "Emission", netuid, n, 0)
    candidates = []
    for uid in range(n):
        registered = state.subtensor("BlockAtRegistration", netuid, uid)
        immune = context.block - registered < immunity
        if not immune and state.subtensor("Keys", netuid, uid) != owner:
            candidates.append((emission[uid], registered, uid))
    if not candidates:
        raise subtensor_error("NoNeuronIdAvailable")
    return min(candidates)[2]


# -- stake --------------------------------------------------------------------------------------------
#
# A coldkey's stake on a hotkey is its share of the hotkey's alpha, as on chain: dividends raise
# ``TotalHotkeyAlpha`` and with it the worth of every share. One alpha costs one TAO on the local node.


def hotkey_alpha(state: Reader, hotkey: str, netuid: int) -> int:
    """All stake on a hotkey on one subnet, in rao of alpha."""
    return int(state.subtensor("TotalHotkeyAlpha", hotkey, netuid))


def stake_of(state: Reader, hotkey: str, coldkey: str, netuid: int) -> int:
    """A coldkey's stake on a hotkey on one subnet, in rao of alpha."""
    total_shares = state.subtensor("TotalHotkeyShares", hotkey, netuid)["bits"]
    if not total_shares:
        return 0
    shares = state.subtensor("Alpha", hotkey, coldkey, netuid)["bits"]
    return int(hotkey_alpha(state, hotkey, netuid) * shares // total_shares)


def change_stake(state: State, hotkey: str, coldkey: str, netuid: int, amount: int) -> None:
    """Add ``amount`` rao of alpha to a coldkey's stake, or take it away when negative."""
    total = hotkey_alpha(state, hotkey, netuid)
    total_shares = state.subtensor("TotalHotkeyShares", hotkey, netuid)["bits"]
    shares = state.subtensor("Alpha", hotkey, coldkey, netuid)["bits"]
    change = amount * total_shares // total if total else amount * U64F64_ONE
    change = max(change, -shares)
    state.put("TotalHotkeyAlpha", hotkey, netuid, total + amount)
    state.put("TotalHotkeyShares", hotkey, netuid, {"bits": total_shares + change})
    state.put("Alpha", hotkey, coldkey, netuid, {"bits": shares + change})
    staked = state.subtensor("StakingHotkeys", coldkey)
    if hotkey not in staked:
        state.put("StakingHotkeys", coldkey, [*staked, hotkey])


def reward_stakers(state: State, netuid: int, hotkey: str, amount: int) -> None:
    """Add ``amount`` to everyone's stake on a hotkey, in proportion."""
    if amount:
        state.put("TotalHotkeyAlpha", hotkey, netuid, hotkey_alpha(state, hotkey, netuid) + amount)


def stake_weight(state: Reader, hotkey: str, netuid: int) -> int:
    """What counts in the epoch: alpha on the subnet, plus root stake times the chain's TAO weight, in rao."""
    tao_weight = state.subtensor("TaoWeight") / U64F64_ONE
    return hotkey_alpha(state, hotkey, netuid) + int(hotkey_alpha(state, hotkey, ROOT) * tao_weight)
