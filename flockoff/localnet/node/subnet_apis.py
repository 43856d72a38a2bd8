"""Runtime APIs about subnets and their neurons: the records that metagraphs are made of."""

from collections.abc import Callable, Mapping

from flockoff.localnet.node import epoch, subnets
from flockoff.localnet.node.calls.staking import PRICE_RAO
from flockoff.localnet.node.runtime import Value, as_bytes
from flockoff.localnet.node.state import Reader

Api = Callable[..., Value]
"""One runtime API: the state and the decoded inputs in, the plain output out."""

_NO_AXON = {
    "block": 0,
    "version": 0,
    "ip": 0,
    "port": 0,
    "ip_type": 0,
    "protocol": 0,
    "placeholder1": 0,
    "placeholder2": 0,
}
_NO_PROMETHEUS = {"block": 0, "version": 0, "ip": 0, "port": 0, "ip_type": 0}
_PRICE_I96F32 = {"bits": 1 << 32}  # one TAO for one alpha

# Names of a hyperparameter in the runtime's records, and the storage item it is in.
_HYPERPARAMETERS = {
    "rho": "Rho",
    "kappa": "Kappa",
    "immunity_period": "ImmunityPeriod",
    "min_allowed_weights": "MinAllowedWeights",
    "tempo": "Tempo",
    "min_difficulty": "MinDifficulty",
    "max_difficulty": "MaxDifficulty",
    "difficulty": "Difficulty",
    "weights_version": "WeightsVersionKey",
    "weights_rate_limit": "WeightsSetRateLimit",
    "adjustment_interval": "AdjustmentInterval",
    "adjustment_alpha": "AdjustmentAlpha",
    "registration_allowed": "NetworkRegistrationAllowed",
    "target_regs_per_interval": "TargetRegistrationsPerInterval",
    "min_burn": "MinBurn",
    "max_burn": "MaxBurn",
    "burn": "Burn",
    "bonds_moving_avg": "BondsMovingAverage",
    "max_regs_per_block": "MaxRegistrationsPerBlock",
    "serving_rate_limit": "ServingRateLimit",
    "max_validators": "MaxAllowedValidators",
    "commit_reveal_period": "RevealPeriodEpochs",
    "commit_reveal_weights_enabled": "CommitRevealWeightsEnabled",
    "liquid_alpha_enabled": "LiquidAlphaOn",
}

# The v3 list includes each value's type. These are compact integers of the given width, the rest booleans.
_V3_KINDS = {
    "U64": (
        "weights_version",
        "weights_rate_limit",
        "serving_rate_limit",
        "bonds_moving_avg",
        "commit_reveal_period",
    ),
    "U16": (
        "rho",
        "kappa",
        "immunity_period",
        "min_allowed_weights",
        "max_weights_limit",
        "tempo",
        "max_validators",
        "max_regs_per_block",
        "target_regs_per_interval",
    ),
    "TaoBalance": ("min_burn", "max_burn"),
    "Bool": ("registration_allowed", "commit_reveal_weights_enabled", "liquid_alpha_enabled"),
}


def hyperparameters(state: Reader, netuid: int) -> dict[str, Value]:
    """A subnet's hyperparameters by the names of the runtime's records."""
    values = {name: state.subtensor(item, netuid) for name, item in _HYPERPARAMETERS.items()}
    values["alpha_low"], values["alpha_high"] = state.subtensor("AlphaValues", netuid)
    values["max_weights_limit"] = subnets.U16_MAX  # a constant of the chain: no weight is too large
    values["activity_cutoff"] = epoch.activity_cutoff(state, netuid)
    return values


def _hyperparams(state: Reader, netuid: int) -> Value:
    return hyperparameters(state, netuid) if subnets.exists(state, netuid) else None


def _hyperparams_v2(state: Reader, netuid: int) -> Value:
    if not subnets.exists(state, netuid):
        return None
    return {
        **hyperparameters(state, netuid),
        "alpha_sigmoid_steepness": {"bits": state.subtensor("AlphaSigmoidSteepness", netuid) << 32},
        "yuma_version": 3 if state.subtensor("Yuma3On", netuid) else 2,
        "subnet_is_active": state.subtensor("SubtokenEnabled", netuid),
        "transfers_enabled": state.subtensor("TransferToggle", netuid),
        "bonds_reset_enabled": state.subtensor("BondsResetOn", netuid),
        "user_liquidity_enabled": False,
    }


def _hyperparams_v3(state: Reader, netuid: int) -> Value:
    if not subnets.exists(state, netuid):
        return None
    values = hyperparameters(state, netuid)
    entries = [
        {"name": name.encode(), "value": {kind: values[name]}}
        for kind, names in _V3_KINDS.items()
        for name in names
    ]
    return sorted(entries, key=lambda entry: entry["name"])


def _text(value: bytes | str) -> list[int]:
    """Text as the ``Vec<Compact<u8>>`` that names and symbols are."""
    return list(as_bytes(value))


def _name(state: Reader, netuid: int) -> list[int]:
    if netuid == subnets.ROOT:
        return _text(b"root")
    identity = state.subtensor("SubnetIdentitiesV3", netuid)
    return _text(identity["subnet_name"] if identity else f"local {netuid}".encode())


def _pool(state: Reader, netuid: int) -> dict[str, Value]:
    """What metagraphs and dynamic info have in common."""
    return {
        "netuid": netuid,
        "owner_hotkey": state.subtensor("SubnetOwnerHotkey", netuid),
        "owner_coldkey": state.subtensor("SubnetOwner", netuid),
        "tempo": state.subtensor("Tempo", netuid),
        "last_step": state.subtensor("LastMechansimStepBlock", netuid),
        "blocks_since_last_step": state.subtensor("BlocksSinceLastStep", netuid),
        "alpha_in": state.subtensor("SubnetAlphaIn", netuid),
        "alpha_out": state.subtensor("SubnetAlphaOut", netuid),
        "tao_in": state.subtensor("SubnetTAO", netuid),
        "alpha_out_emission": epoch.ALPHA_PER_BLOCK if state.subtensor("SubtokenEnabled", netuid) else 0,
        "alpha_in_emission": 0,
        "tao_in_emission": 0,
        "pending_alpha_emission": 0,
        "pending_root_emission": 0,
        "subnet_volume": state.subtensor("SubnetVolume", netuid),
        "network_registered_at": state.subtensor("NetworkRegisteredAt", netuid),
        "moving_price": _PRICE_I96F32,
    }


def _dynamic_info(state: Reader, netuid: int) -> Value:
    if not subnets.exists(state, netuid):
        return None
    return {
        **_pool(state, netuid),
        "subnet_name": _name(state, netuid),
        "token_symbol": _text(state.subtensor("TokenSymbol", netuid)),
        "emission": 0,
        "subnet_identity": state.subtensor("SubnetIdentitiesV3", netuid),
    }


def _all_dynamic_info(state: Reader) -> Value:
    return [_dynamic_info(state, netuid) for netuid in subnets.netuids(state)]


def _neuron_columns(state: Reader, netuid: int) -> dict[str, list[Value]]:
    """Per-uid columns. Rank, trust and pruning score are zero: spec 461 no longer stores them."""
    hotkeys = subnets.hotkeys(state, netuid)
    n = len(hotkeys)
    tao_weight = state.subtensor("TaoWeight") / subnets.U64F64_ONE
    alpha = [subnets.hotkey_alpha(state, hotkey, netuid) for hotkey in hotkeys]
    root = [int(subnets.hotkey_alpha(state, hotkey, subnets.ROOT) * tao_weight) for hotkey in hotkeys]
    zeros = [0] * n
    return {
        "hotkeys": hotkeys,
        "coldkeys": [state.subtensor("Owner", hotkey) for hotkey in hotkeys],
        "active": subnets.vector(state, "Active", netuid, n, False),
        "validator_permit": subnets.vector(state, "ValidatorPermit", netuid, n, False),
        "last_update": subnets.vector(state, "LastUpdate", netuid, n, 0),
        "emission": subnets.vector(state, "Emission", netuid, n, 0),
        "dividends": subnets.vector(state, "Dividends", netuid, n, 0),
        "incentives": subnets.vector(state, "Incentive", netuid, n, 0),
        "consensus": subnets.vector(state, "Consensus", netuid, n, 0),
        "pruning_score": zeros,
        "trust": zeros,
        "rank": zeros,
        "block_at_registration": [state.subtensor("BlockAtRegistration", netuid, uid) for uid in range(n)],
        "alpha_stake": alpha,
        "tao_stake": root,
        "total_stake": [own + weighted for own, weighted in zip(alpha, root, strict=True)],
    }


def _metagraph(state: Reader, netuid: int) -> Value:
    if not subnets.exists(state, netuid):
        return None
    columns = _neuron_columns(state, netuid)
    hotkeys = columns["hotkeys"]
    n = len(hotkeys)
    zeros = [0] * n
    return {
        **_pool(state, netuid),
        **hyperparameters(state, netuid),
        **columns,
        "name": _name(state, netuid),
        "symbol": _text(state.subtensor("TokenSymbol", netuid)),
        "identity": state.subtensor("SubnetIdentitiesV3", netuid),
        "block": state.block,
        "subnet_emission": 0,
        "num_uids": n,
        "max_uids": state.subtensor("MaxAllowedUids", netuid),
        "pow_registration_allowed": False,
        "identities": [state.subtensor("IdentitiesV2", coldkey) for coldkey in columns["coldkeys"]],
        "axons": [state.subtensor("Axons", netuid, hotkey) or _NO_AXON for hotkey in hotkeys],
        "tao_dividends_per_hotkey": [],
        "alpha_dividends_per_hotkey": [],
        "collateral_locked": zeros,
        "collateral_min": zeros,
        "collateral_earned": zeros,
    }


def _mechagraph(state: Reader, netuid: int, mechanism: int) -> Value:
    return _metagraph(state, netuid) if mechanism == 0 else None


def _all_metagraphs(state: Reader) -> Value:
    return [_metagraph(state, netuid) for netuid in subnets.netuids(state)]


def _subnet_state(state: Reader, netuid: int) -> Value:
    if not subnets.exists(state, netuid):
        return None
    return {"netuid": netuid, **_neuron_columns(state, netuid), "emission_history": []}


def _neurons_lite(state: Reader, netuid: int) -> list[dict[str, Value]]:
    columns = _neuron_columns(state, netuid)
    n = len(columns["hotkeys"])
    trust = subnets.vector(state, "ValidatorTrust", netuid, n, 0)
    return [
        {
            "hotkey": hotkey,
            "coldkey": columns["coldkeys"][uid],
            "uid": uid,
            "netuid": netuid,
            "active": columns["active"][uid],
            "axon_info": state.subtensor("Axons", netuid, hotkey) or _NO_AXON,
            "prometheus_info": _NO_PROMETHEUS,
            "stake": [(columns["coldkeys"][uid], columns["total_stake"][uid])],
            "rank": 0,
            "emission": columns["emission"][uid],
            "incentive": columns["incentives"][uid],
            "consensus": columns["consensus"][uid],
            "trust": 0,
            "validator_trust": trust[uid],
            "dividends": columns["dividends"][uid],
            "last_update": columns["last_update"][uid],
            "validator_permit": columns["validator_permit"][uid],
            "pruning_score": 0,
        }
        for uid, hotkey in enumerate(columns["hotkeys"])
    ]


def _neurons(state: Reader, netuid: int) -> list[dict[str, Value]]:
    neurons = _neurons_lite(state, netuid)
    for uid, neuron in enumerate(neurons):
        neuron["weights"] = state.subtensor("Weights", netuid, uid)
        neuron["bonds"] = state.subtensor("Bonds", netuid, uid)
    return neurons


def _one(many: Api) -> Api:
    def api(state: Reader, netuid: int, uid: int) -> Value:
        return next((neuron for neuron in many(state, netuid) if neuron["uid"] == uid), None)

    return api


def _subnet_info(state: Reader, netuid: int) -> Value:
    if not subnets.exists(state, netuid):
        return None
    return {
        **hyperparameters(state, netuid),
        "netuid": netuid,
        "max_allowed_validators": state.subtensor("MaxAllowedValidators", netuid),
        "scaling_law_power": state.subtensor("ScalingLawPower", netuid),
        "subnetwork_n": subnets.size(state, netuid),
        "max_allowed_uids": state.subtensor("MaxAllowedUids", netuid),
        "blocks_since_last_step": state.subtensor("BlocksSinceLastStep", netuid),
        "network_modality": 0,
        "network_connect": [],
        "emission_values": 0,
        "emission_value": 0,
        "owner": state.subtensor("SubnetOwner", netuid),
        "identity": state.subtensor("SubnetIdentitiesV3", netuid),
    }


def _subnets_info(state: Reader) -> Value:
    return [_subnet_info(state, netuid) for netuid in subnets.netuids(state)]


def _alpha_price(state: Reader, netuid: int) -> Value:
    return PRICE_RAO


def _alpha_prices(state: Reader) -> Value:
    return [{"netuid": netuid, "price": PRICE_RAO} for netuid in subnets.netuids(state)]


def _sim_swap(state: Reader, netuid: int, amount: int) -> Value:
    free = {"tao_fee": 0, "alpha_fee": 0, "tao_slippage": 0, "alpha_slippage": 0}
    return {"tao_amount": amount, "alpha_amount": amount, **free}


_INFO = "SubnetInfoRuntimeApi_"
_NEURON = "NeuronInfoRuntimeApi_"

APIS: Mapping[str, Api] = {
    _INFO + "get_subnet_hyperparams": _hyperparams,
    _INFO + "get_subnet_hyperparams_v2": _hyperparams_v2,
    _INFO + "get_subnet_hyperparams_v3": _hyperparams_v3,
    _INFO + "get_subnet_info": _subnet_info,
    _INFO + "get_subnet_info_v2": _subnet_info,
    _INFO + "get_subnets_info": _subnets_info,
    _INFO + "get_subnets_info_v2": _subnets_info,
    _INFO + "get_dynamic_info": _dynamic_info,
    _INFO + "get_all_dynamic_info": _all_dynamic_info,
    _INFO + "get_metagraph": _metagraph,
    _INFO + "get_mechagraph": _mechagraph,
    _INFO + "get_all_metagraphs": _all_metagraphs,
    _INFO + "get_subnet_state": _subnet_state,
    _INFO + "get_next_epoch_start_block": epoch.next_start,
    _NEURON + "get_neurons": _neurons,
    _NEURON + "get_neurons_lite": _neurons_lite,
    _NEURON + "get_neuron": _one(_neurons),
    _NEURON + "get_neuron_lite": _one(_neurons_lite),
    "SwapRuntimeApi_current_alpha_price": _alpha_price,
    "SwapRuntimeApi_current_alpha_price_all": _alpha_prices,
    "SwapRuntimeApi_sim_swap_tao_for_alpha": _sim_swap,
    "SwapRuntimeApi_sim_swap_alpha_for_tao": _sim_swap,
}
