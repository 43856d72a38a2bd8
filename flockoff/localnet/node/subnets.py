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
_MOST_UIDS = 256  # the runtime's DefaultMaxAllowedUids

# The subnet's vectors in which a uid has an element, with a newcomer's value.
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
    """Whether the subnet exists."""
    return bool(state.subtensor("NetworksAdded", netuid))


def size(state: Reader, netuid: int) -> int:
    """The number of uids."""
    return int(state.subtensor("SubnetworkN", netuid))


def hotkeys(state: Reader, netuid: int) -> list[str]:
    """The hotkeys by uid."""
    return [state.subtensor("Keys", netuid, uid) for uid in range(size(state, netuid))]


def uid_of(state: Reader, netuid: int, hotkey: str) -> int | None:
    """The uid of a hotkey, None if it is not registered there."""
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
    """Change one element of a per-uid vector, extending it with zeros if necessary."""
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
    """Give ``hotkey`` a uid: a new one, or on a full subnet that of the weakest neuron.

    Raises:
        DispatchFailed: the subnet is full of its owner's hotkeys.
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
    _zero_weights_on(state, netuid, uid)


def _zero_weights_on(state: State, netuid: int, uid: int) -> None:
    """Weights on a uid's former holder say nothing about the next one."""
    for mechanism in mechanisms(state, netuid):
        index = storage_index(netuid, mechanism)
        for author, row in state.entries("SubtensorModule", "Weights", index):
            if any(dest == uid and value for dest, value in row):
                zeroed = [(dest, 0 if dest == uid else value) for dest, value in row]
                state.put("Weights", index, author, zeroed)


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
    """The uid to evict: lowest emission, then earliest registration, then lowest uid; never the owner's.

    Immunity holds as long as more than ``MinNonImmuneUids`` are without it; else the weakest immune one goes.
    """
    state = context.state
    emission = vector(state, "Emission", netuid, n, 0)
    by_immunity: dict[bool, list[tuple[int, int, int]]] = {False: [], True: []}
    for uid in range(n):
        if not is_owners(state, netuid, state.subtensor("Keys", netuid, uid)):
            registered = state.subtensor("BlockAtRegistration", netuid, uid)
            immune = is_immune(context, netuid, uid)
            by_immunity[immune].append((emission[uid], registered, uid))
    spare = len(by_immunity[False]) > state.subtensor("MinNonImmuneUids", netuid)
    candidates = by_immunity[False] if spare or not by_immunity[True] else by_immunity[True]
    if not candidates:
        raise subtensor_error("NoNeuronIdAvailable")
    return min(candidates)[2]


def is_immune(context: Context, netuid: int, uid: int) -> bool:
    """Whether the uid was registered too recently to be given to another."""
    registered: int = context.state.subtensor("BlockAtRegistration", netuid, uid)
    return bool(context.block - registered < context.state.subtensor("ImmunityPeriod", netuid))


def owner_of(state: Reader, netuid: int) -> tuple[str, str]:
    """The subnet owner's hotkey and coldkey."""
    return state.subtensor("SubnetOwnerHotkey", netuid), state.subtensor("SubnetOwner", netuid)


def is_owners(state: Reader, netuid: int, hotkey: str) -> bool:
    """Whether the hotkey is the subnet owner's: the one named as such, or another of the same coldkey."""
    named, coldkey = owner_of(state, netuid)
    return bool(hotkey == named or state.subtensor("Owner", hotkey) == coldkey)


def trim(context: Context, netuid: int, max_n: int) -> None:
    """Leave at most ``max_n`` uids, those with the most emission; they are renumbered in the old order.

    Raises:
        DispatchFailed: the number is out of bounds, or too many of those left would be immune.
    """
    state = context.state
    n = size(state, netuid)
    if not state.subtensor("MinAllowedUids", netuid) <= max_n <= _MOST_UIDS:
        raise subtensor_error("InvalidValue")
    state.put("MaxAllowedUids", netuid, max_n)
    kept = list(range(n))
    if n > max_n:
        safe = {uid for uid in kept if is_immune(context, netuid, uid)}
        if len(safe) * 100 >= max_n * state.runtime.constant("SubtensorModule", "MaxImmuneUidsPercentage"):
            raise subtensor_error("TrimmingWouldExceedMaxImmunePercentage")
        safe |= {uid for uid in kept if is_owners(state, netuid, state.subtensor("Keys", netuid, uid))}
        emission = vector(state, "Emission", netuid, n, 0)
        weakest = sorted((uid for uid in kept if uid not in safe), key=lambda uid: (emission[uid], -uid))
        leaving = set(weakest[: n - max_n])
        kept = [uid for uid in kept if uid not in leaving]
        for uid in leaving:
            _evict(state, netuid, uid)
        _renumber(state, netuid, n, kept)


def _renumber(state: State, netuid: int, n: int, kept: list[int]) -> None:
    """Make ``kept[i]`` of ``n`` uids the uid ``i``; what belonged to the others is deleted."""
    new = {old: uid for uid, old in enumerate(kept)}
    for item in ("Keys", "BlockAtRegistration"):
        values = [state.subtensor(item, netuid, old) for old in kept]
        state.remove("SubtensorModule", item, netuid)
        for uid, value in enumerate(values):
            state.put(item, netuid, uid, value)
    for uid in range(len(kept)):
        state.put("Uids", netuid, state.subtensor("Keys", netuid, uid), uid)
    indices = [storage_index(netuid, mechanism) for mechanism in mechanisms(state, netuid)]
    for item, index in [
        *((item, netuid) for item in _SUBNET_VECTORS),
        *((item, index) for item in ("Incentive", "LastUpdate") for index in indices),
    ]:
        values = vector(state, item, index, n, _SUBNET_VECTORS.get(item, 0))
        state.put(item, index, [values[old] for old in kept])
    for item in ("Weights", "Bonds"):
        for index in indices:
            rows = state.entries("SubtensorModule", item, index)
            state.remove("SubtensorModule", item, index)
            for author, row in rows:
                if author in new:
                    left = [(new[dest], value) for dest, value in row if dest in new]
                    state.put(item, index, new[author], left)
    state.put("SubnetworkN", netuid, len(kept))


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
    """Add ``amount`` rao of alpha to a coldkey's stake, or take it away if negative."""
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
