"""``AdminUtils``: hyperparameters, by sudo or, where the chain lets them, the subnet's owner.

The chain's freeze window before each epoch and the owner's rate limits are not kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flockoff.localnet.node import subnets
from flockoff.localnet.node.context import Context, Handler
from flockoff.localnet.node.errors import DispatchFailed, ModuleError, subtensor_error
from flockoff.localnet.node.runtime import Value


@dataclass(frozen=True)
class _Setting:
    """A call that stores its last argument: where, what event it reports, whether the owner may."""

    item: str
    argument: str
    event: str | None = None
    owner: bool = False


_OF_SUBNET = {
    "sudo_set_activity_cutoff": _Setting("ActivityCutoff", "activity_cutoff", "ActivityCutoffSet", True),
    "sudo_set_activity_cutoff_factor": _Setting(
        "ActivityCutoffFactorMilli", "factor_milli", "ActivityCutoffFactorMilliSet", True
    ),
    "sudo_set_bonds_moving_average": _Setting(
        "BondsMovingAverage", "bonds_moving_average", "BondsMovingAverageSet", True
    ),
    "sudo_set_bonds_penalty": _Setting("BondsPenalty", "bonds_penalty", "BondsPenaltySet", True),
    "sudo_set_commit_reveal_weights_enabled": _Setting(
        "CommitRevealWeightsEnabled", "enabled", "CommitRevealEnabled", True
    ),
    "sudo_set_commit_reveal_weights_interval": _Setting(
        "RevealPeriodEpochs", "interval", "CommitRevealPeriodsSet", True
    ),
    "sudo_set_immunity_period": _Setting("ImmunityPeriod", "immunity_period", "ImmunityPeriodSet", True),
    "sudo_set_kappa": _Setting("Kappa", "kappa", "KappaSet"),
    "sudo_set_max_allowed_uids": _Setting("MaxAllowedUids", "max_allowed_uids", "MaxAllowedUidsSet"),
    "sudo_set_max_allowed_validators": _Setting(
        "MaxAllowedValidators", "max_allowed_validators", "MaxAllowedValidatorsSet"
    ),
    "sudo_set_max_burn": _Setting("MaxBurn", "max_burn", "MaxBurnSet", True),
    "sudo_set_max_registrations_per_block": _Setting(
        "MaxRegistrationsPerBlock", "max_registrations_per_block", "MaxRegistrationsPerBlockSet"
    ),
    "sudo_set_min_allowed_weights": _Setting(
        "MinAllowedWeights", "min_allowed_weights", "MinAllowedWeightSet", True
    ),
    "sudo_set_min_burn": _Setting("MinBurn", "min_burn", "MinBurnSet", True),
    "sudo_set_min_allowed_uids": _Setting("MinAllowedUids", "min_allowed_uids", "MinAllowedUidsSet"),
    "sudo_set_min_non_immune_uids": _Setting("MinNonImmuneUids", "min", "MinNonImmuneUidsSet"),
    "sudo_set_network_registration_allowed": _Setting(
        "NetworkRegistrationAllowed", "registration_allowed", "RegistrationAllowed", True
    ),
    "sudo_set_rho": _Setting("Rho", "rho", "RhoSet", True),
    "sudo_set_serving_rate_limit": _Setting(
        "ServingRateLimit", "serving_rate_limit", "ServingRateLimitSet", True
    ),
    "sudo_set_subtoken_enabled": _Setting("SubtokenEnabled", "subtoken_enabled"),
    "sudo_set_target_registrations_per_interval": _Setting(
        "TargetRegistrationsPerInterval", "target_registrations_per_interval", "RegistrationPerIntervalSet"
    ),
    "sudo_set_weights_set_rate_limit": _Setting(
        "WeightsSetRateLimit", "weights_set_rate_limit", "WeightsSetRateLimitSet"
    ),
    "sudo_set_weights_version_key": _Setting(
        "WeightsVersionKey", "weights_version_key", "WeightsVersionKeySet", True
    ),
    "sudo_set_yuma3_enabled": _Setting("Yuma3On", "enabled", owner=True),
}

_OF_CHAIN = {
    "sudo_set_admin_freeze_window": _Setting("AdminFreezeWindow", "window", "AdminFreezeWindowSet"),
    "sudo_set_commit_reveal_version": _Setting(
        "CommitRevealWeightsVersion", "version", "CommitRevealVersionSet"
    ),
    "sudo_set_lock_reduction_interval": _Setting(
        "NetworkLockReductionInterval", "interval", "NetworkLockCostReductionIntervalSet"
    ),
    "sudo_set_max_epochs_per_block": _Setting(
        "MaxEpochsPerBlock", "max_epochs_per_block", "MaxEpochsPerBlockSet"
    ),
    "sudo_set_network_immunity_period": _Setting(
        "NetworkImmunityPeriod", "immunity_period", "NetworkImmunityPeriodSet"
    ),
    "sudo_set_network_min_lock_cost": _Setting("NetworkMinLockCost", "lock_cost", "NetworkMinLockCostSet"),
    "sudo_set_network_rate_limit": _Setting("NetworkRateLimit", "rate_limit", "NetworkRateLimitSet"),
    "sudo_set_owner_hparam_rate_limit": _Setting(
        "OwnerHyperparamRateLimit", "epochs", "OwnerHyperparamRateLimitSet"
    ),
    "sudo_set_stake_threshold": _Setting("StakeThreshold", "min_stake", "StakeThresholdSet"),
    "sudo_set_start_call_delay": _Setting("StartCallDelay", "delay", "StartCallDelaySet"),
    "sudo_set_subnet_limit": _Setting("SubnetLimit", "max_subnets", "SubnetLimitSet"),
    "sudo_set_tx_rate_limit": _Setting("TxRateLimit", "tx_rate_limit", "TxRateLimitSet"),
}


def _ensure_allowed(context: Context, netuid: int, *, owner: bool) -> None:
    if not subnets.exists(context.state, netuid):
        raise ModuleError("AdminUtils", "SubnetDoesNotExist")
    if context.origin is None:
        return
    if not owner or context.state.subtensor("SubnetOwner", netuid) != context.origin:
        raise DispatchFailed("BadOrigin")


def _subnet_setter(setting: _Setting) -> Handler:
    def handler(context: Context, args: dict[str, Value]) -> None:
        netuid, value = args["netuid"], args[setting.argument]
        _ensure_allowed(context, netuid, owner=setting.owner)
        context.state.put(setting.item, netuid, value)
        if setting.event is not None:
            context.event(setting.event, (netuid, value))

    return handler


def _chain_setter(setting: _Setting) -> Handler:
    def handler(context: Context, args: dict[str, Value]) -> None:
        context.ensure_root()
        context.state.put(setting.item, args[setting.argument])
        if setting.event is not None:
            context.event(setting.event, args[setting.argument])

    return handler


def _set_tempo(context: Context, args: dict[str, Value]) -> None:
    """A new tempo restarts the cycle, so the next epoch is a whole one."""
    netuid, tempo = args["netuid"], args["tempo"]
    _ensure_allowed(context, netuid, owner=False)
    context.state.put("Tempo", netuid, tempo)
    context.state.put("LastEpochBlock", netuid, context.block)
    context.event("TempoSet", (netuid, tempo))


def _trim(context: Context, args: dict[str, Value]) -> None:
    _ensure_allowed(context, args["netuid"], owner=True)
    subnets.trim(context, args["netuid"], args["max_n"])


def _trigger_epoch(context: Context, args: dict[str, Value]) -> None:
    """Schedule the epoch that the owner asks for, after the freeze window."""
    state, netuid = context.state, args["netuid"]
    _ensure_allowed(context, netuid, owner=True)
    if state.subtensor("CommitRevealWeightsEnabled", netuid):
        raise subtensor_error("DynamicTempoBlockedByCommitReveal")
    if state.subtensor("PendingEpochAt", netuid):
        raise subtensor_error("EpochTriggerAlreadyPending")
    fires_at = context.block + state.subtensor("AdminFreezeWindow")
    if state.subtensor("LastEpochBlock", netuid) + state.subtensor("Tempo", netuid) < fires_at:
        raise subtensor_error("AutoEpochAlreadyImminent")
    state.put("PendingEpochAt", netuid, fires_at)
    context.event("EpochTriggered", {"netuid": netuid, "by": context.signer, "fires_at": fires_at})


CALLS: Mapping[tuple[str, str], Handler] = {
    **{("AdminUtils", name): _subnet_setter(setting) for name, setting in _OF_SUBNET.items()},
    **{("AdminUtils", name): _chain_setter(setting) for name, setting in _OF_CHAIN.items()},
    ("AdminUtils", "sudo_set_tempo"): _set_tempo,
    ("AdminUtils", "sudo_trim_to_max_allowed_uids"): _trim,
    ("SubtensorModule", "trigger_epoch"): _trigger_epoch,
}
