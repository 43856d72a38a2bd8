"""Which weights an epoch ends with, and getting them onto the chain before it does."""

import logging
from collections.abc import Mapping

from flockoff.competition import Scoring
from flockoff.errors import ChainCooldown, ChainError, ChainFatal, ChainTransient, Interrupted, NoFunds
from flockoff.logs import event
from flockoff.metrics import WEIGHTS_LATE
from flockoff.records import Receipt, SubnetSnapshot, WeightsSet
from flockoff.retry import note
from flockoff.scoring import weights_from_scores
from flockoff.validate.clock import EpochClock
from flockoff.validate.setting import Validator

log = logging.getLogger(__name__)

_PAUSE_BLOCKS = 2  # after a passing fault
_LONG_PAUSE_BLOCKS = 10  # after one that somebody has to mend


def choose_weights(
    scores: Mapping[str, float],
    last: WeightsSet | None,
    evaluated: bool,
    snapshot: SubnetSnapshot,
    rules: Scoring,
) -> dict[int, float]:
    """Weights by uid, summing to 1.

    With nothing evaluated the last weights are set again, as far as their hotkeys are still there. Where
    nobody has a score they go to the subnet owner's uid, which burns them.
    """
    uids = {neuron.hotkey: neuron.uid for neuron in snapshot.neurons}
    if not evaluated and last is not None:
        kept = {uids[hotkey]: weight for hotkey, weight in last.weights.items() if hotkey in uids}
        total = sum(kept.values())
        if total > 0:
            return {uid: weight / total for uid, weight in kept.items()}
    hotkeys = {neuron.uid: neuron.hotkey for neuron in snapshot.neurons}
    consensus = {neuron.uid: neuron.consensus for neuron in snapshot.neurons}
    weights = weights_from_scores(scores, hotkeys, consensus, rules)
    if weights is not None:
        return weights
    owner = uids.get(snapshot.owner_hotkey, 0)
    told = "No miner has a score: all weight goes to the subnet owner's uid %d (burn)."
    log.warning(told, owner, extra=event("burn", uid=owner))
    return {owner: 1.0}


def submit_weights(
    validator: Validator, weights: Mapping[int, float], clock: EpochClock, *, since: int
) -> Receipt | None:
    """Set ``weights``, trying again until the chain has them or the epoch has ended.

    Of a submission it may not be known whether it landed, here or before a crash: weights that the chain
    shows as set after block ``since`` are these. Returns None if the epoch ended without them. Raises
    NotRegistered, and Interrupted when the validator is asked to stop.
    """
    while True:
        try:
            return validator.chain.set_weights(weights, since=since)
        except ChainCooldown as fault:
            blocks = fault.blocks_left or _PAUSE_BLOCKS
            _say(fault, blocks, clock)
        except ChainTransient as fault:
            blocks = _PAUSE_BLOCKS
            _say(fault, blocks, clock)
        except (ChainFatal, NoFunds) as fault:
            blocks = _LONG_PAUSE_BLOCKS
            _say(fault, blocks, clock)
        if clock.ended():
            return None
        if validator.stop.wait(min(blocks, clock.blocks_left() + 1) * clock.seconds_per_block):
            raise Interrupted


def landed_weights(snapshot: SubnetSnapshot, hotkey: str, since: int) -> Receipt | None:
    """Where ``hotkey``'s last weights are on chain, if they were set after block ``since``."""
    for neuron in snapshot.neurons:
        if neuron.hotkey == hotkey and neuron.last_update > since:
            return Receipt(extrinsic="", block=neuron.last_update)
    return None


def _say(fault: ChainError, blocks: int, clock: EpochClock) -> None:
    """Quietly while there is time; loudly once the weights are due, or where somebody has to act."""
    note(fault)
    late = clock.late()
    if late:
        WEIGHTS_LATE.inc()
    level = logging.ERROR if late or isinstance(fault, (ChainFatal, NoFunds)) else logging.WARNING
    log.log(
        level,
        "WEIGHTS NOT SET, %d blocks before the epoch's end: %s Trying again in %d blocks.",
        clock.blocks_left(),
        fault,
        blocks,
        extra=event("weights_not_set", fault=type(fault).__name__, blocks=blocks),
    )
