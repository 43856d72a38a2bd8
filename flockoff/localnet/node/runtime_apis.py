"""``state_call``: runtime APIs by name, their inputs and outputs in the runtime's own types."""

from collections.abc import Mapping

from flockoff.localnet.node import accounts, fees, subnet_apis, subnets
from flockoff.localnet.node.calls.registration import network_cost
from flockoff.localnet.node.errors import Refused
from flockoff.localnet.node.metadata_patch import compact
from flockoff.localnet.node.runtime import Runtime, Value
from flockoff.localnet.node.state import NULL_ACCOUNT, Reader
from flockoff.localnet.node.subnet_apis import Api

METADATA_VERSION = 15


def call(state: Reader, name: str, data: bytes) -> bytes:
    """Answer a runtime API from the state at a block.

    Raises:
        Refused: the runtime, or the local node, does not have it; or the inputs are malformed.
    """
    if name.startswith("Metadata_"):
        return _metadata(state.runtime, name, data)
    if name.startswith(("TransactionPaymentApi_", "TransactionPaymentCallApi_")):
        return _payment(state.runtime, name, data)
    api = _APIS.get(name)
    if api is None:
        raise _not_found(name)
    inputs, output = state.runtime.apis[name]
    try:
        arguments = _decode_inputs(state.runtime, inputs, data)
    except ValueError as error:
        raise Refused(-32602, "Invalid params", f"{name}: {error}") from error
    return state.runtime.encode(output, api(state, *arguments))


def _not_found(name: str) -> Refused:
    return Refused(4003, f"Client error: Execution failed: Other: Exported method {name} is not found")


def _decode_inputs(runtime: Runtime, kinds: list[str], data: bytes) -> list[Value]:
    """Inputs follow each other without separators: each one's encoding shows where the next begins."""
    arguments: list[Value] = []
    at = 0
    for kind in kinds[:-1]:
        value = runtime.core.decode(kind, data[at:], False)
        at += len(runtime.encode(kind, value))
        arguments.append(value)
    if kinds:
        arguments.append(runtime.decode(kinds[-1], data[at:]))
    return arguments


def _metadata(runtime: Runtime, name: str, data: bytes) -> bytes:
    opaque = compact(len(runtime.metadata)) + runtime.metadata
    if name == "Metadata_metadata":
        return opaque
    if name == "Metadata_metadata_versions":
        return compact(1) + METADATA_VERSION.to_bytes(4, "little")
    if name == "Metadata_metadata_at_version":
        wanted = int.from_bytes(data[:4], "little")
        return b"\x01" + opaque if wanted == METADATA_VERSION else b"\x00"
    raise _not_found(name)


def _payment(runtime: Runtime, name: str, data: bytes) -> bytes:
    """Fees. The inputs end in a u32: the extrinsic's length, or the requested weight."""
    method = name.split("_", 1)[1]
    length = int.from_bytes(data[-4:], "little")
    if method in ("query_info", "query_call_info"):
        weight = {"ref_time": fees.REF_TIME, "proof_size": fees.PROOF_SIZE}
        answer: Value = {"weight": weight, "class": "Normal", "partial_fee": fees.fee_of(length)}
    elif method in ("query_fee_details", "query_call_fee_details"):
        parts = {"base_fee": 0, "len_fee": length, "adjusted_weight_fee": fees.weight_fee()}
        answer = {"inclusion_fee": parts, "tip": 0}
    elif method == "query_length_to_fee":
        answer = length
    else:
        raise _not_found(name)
    return runtime.encode(runtime.apis[name][1], answer)


def _nonce(state: Reader, who: str) -> Value:
    return accounts.account(state, who)["nonce"]


def _slot_duration(state: Reader) -> Value:
    return state.runtime.slot_milliseconds


def _version(state: Reader) -> Value:
    return state.runtime.constant("System", "Version")


def _registration_cost(state: Reader) -> Value:
    return network_cost(state)


def _stake_of_coldkey(state: Reader, coldkey: str) -> list[dict[str, Value]]:
    """Everything a coldkey has staked, one record for each hotkey and subnet."""
    records = (
        _stake_record(state, hotkey, coldkey, netuid)
        for hotkey in state.subtensor("StakingHotkeys", coldkey)
        for netuid in subnets.netuids(state)
    )
    return [record for record in records if record["stake"]]


def _stake_record(state: Reader, hotkey: str, coldkey: str, netuid: int) -> dict[str, Value]:
    return {
        "hotkey": hotkey,
        "coldkey": coldkey,
        "netuid": netuid,
        "stake": subnets.stake_of(state, hotkey, coldkey, netuid),
        "locked": 0,
        "emission": 0,
        "tao_emission": 0,
        "drain": 0,
        "is_registered": subnets.uid_of(state, netuid, hotkey) is not None,
    }


def _stake_of_coldkeys(state: Reader, coldkeys: list[str]) -> Value:
    return [(coldkey, _stake_of_coldkey(state, coldkey)) for coldkey in coldkeys]


def _stake_of_position(state: Reader, hotkey: str, coldkey: str, netuid: int) -> Value:
    return _stake_record(state, hotkey, coldkey, netuid)


def _stake_availability(state: Reader, coldkeys: list[str], wanted: list[int] | None) -> Value:
    """By coldkey and subnet: how much is staked, none of it locked."""
    return {coldkey: _available(state, coldkey, wanted) for coldkey in coldkeys}


def _available(state: Reader, coldkey: str, wanted: list[int] | None) -> dict[int, dict[str, int]]:
    staked: dict[int, int] = {}
    for record in _stake_of_coldkey(state, coldkey):
        staked[record["netuid"]] = staked.get(record["netuid"], 0) + record["stake"]
    return {
        netuid: {"total": stake, "locked": 0, "available": stake}
        for netuid, stake in staked.items()
        if wanted is None or netuid in wanted
    }


def _delegate(state: Reader, hotkey: str) -> Value:
    """A hotkey as a delegate: take, owner, and where it is registered and may validate."""
    owner = state.subtensor("Owner", hotkey)
    if owner == NULL_ACCOUNT:
        return None
    uids = {netuid: subnets.uid_of(state, netuid, hotkey) for netuid in subnets.netuids(state)}
    registrations = [netuid for netuid, uid in uids.items() if uid is not None]
    stakes = [(netuid, subnets.stake_of(state, hotkey, owner, netuid)) for netuid in registrations]
    return {
        "delegate_ss58": hotkey,
        "take": state.subtensor("Delegates", hotkey),
        "nominators": [(owner, stakes)],
        "owner_ss58": owner,
        "registrations": registrations,
        "validator_permits": [netuid for netuid in registrations if _has_permit(state, netuid, uids[netuid])],
        "return_per_1000": 0,
        "total_daily_return": 0,
    }


def _has_permit(state: Reader, netuid: int, uid: int | None) -> bool:
    permits = state.subtensor("ValidatorPermit", netuid)
    return uid is not None and uid < len(permits) and bool(permits[uid])


def _delegates(state: Reader) -> Value:
    owned = {hotkey for hotkey, _owner in state.entries("SubtensorModule", "Owner")}
    return [_delegate(state, hotkey) for hotkey in sorted(owned)]


def _delegated(state: Reader, coldkey: str) -> Value:
    return [
        (_delegate(state, record["hotkey"]), (record["netuid"], record["stake"]))
        for record in _stake_of_coldkey(state, coldkey)
    ]


def _none(state: Reader, *inputs: Value) -> Value:
    return None


def _zero(state: Reader, *inputs: Value) -> Value:
    return 0


def _zero_bits(state: Reader, *inputs: Value) -> Value:
    return {"bits": 0}


def _empty(state: Reader, *inputs: Value) -> Value:
    return []


# Parts of the chain that the local node lacks: the answer is an empty one.
_BASKET = "BetaBasketRuntimeApi_"
_ABSENT: Mapping[str, Api] = {
    _BASKET + "get_all_validator_baskets": _empty,
    _BASKET + "get_basket_payout": _zero,
    _BASKET + "get_root_basket_owed": _zero,
    _BASKET + "get_root_basket_positions": _empty,
    _BASKET + "get_root_basket_total_nav": _zero,
    _BASKET + "get_validator_basket": _empty,
    _BASKET + "get_validator_basket_nav": _zero,
    "StakeInfoRuntimeApi_get_coldkey_lock": _none,
    "StakeInfoRuntimeApi_get_hotkey_conviction": _zero_bits,
    "StakeInfoRuntimeApi_get_most_convicted_hotkey_on_subnet": _none,
    "SubnetInfoRuntimeApi_get_coldkey_auto_stake_hotkey": _none,
    "SubnetInfoRuntimeApi_get_subnet_to_prune": _none,
}

_APIS: Mapping[str, Api] = {
    **_ABSENT,
    **subnet_apis.APIS,
    "Core_version": _version,
    "AccountNonceApi_account_nonce": _nonce,
    "AuraApi_slot_duration": _slot_duration,
    "SubnetRegistrationRuntimeApi_get_network_registration_cost": _registration_cost,
    "StakeInfoRuntimeApi_get_stake_info_for_coldkey": _stake_of_coldkey,
    "StakeInfoRuntimeApi_get_stake_info_for_coldkeys": _stake_of_coldkeys,
    "StakeInfoRuntimeApi_get_stake_info_for_hotkey_coldkey_netuid": _stake_of_position,
    "StakeInfoRuntimeApi_get_stake_availability_for_coldkeys": _stake_availability,
    "StakeInfoRuntimeApi_get_stake_fee": _zero,
    "DelegateInfoRuntimeApi_get_delegate": _delegate,
    "DelegateInfoRuntimeApi_get_delegates": _delegates,
    "DelegateInfoRuntimeApi_get_delegated": _delegated,
}
