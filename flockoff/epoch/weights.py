"""The weights that an epoch ends with: set, repeat, burn or hold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from flockoff.competition import Scoring
from flockoff.records import U16_MAX, SubnetSnapshot, Verdict, WeightsSet
from flockoff.scoring import weights_from_scores
from flockoff.text import counted


class Action(StrEnum):
    SET = "set"  # as the scores say
    REPEAT = "repeat"  # the last weights again
    BURN = "burn"  # all to the subnet owner, which the chain burns
    HOLD = "hold"  # nothing is sent


@dataclass(frozen=True, slots=True)
class WeightsDecision:
    """``weights``: by hotkey, positive, summing to 1; empty for HOLD. ``reason``: why it is not SET.

    ``consensus``: by hotkey, the chain's when they were computed from scores; None if they were not.
    ``padding``: hotkeys given the smallest possible weight to reach the chain's minimum number of weights.
    """

    action: Action
    weights: Mapping[str, float] = field(default_factory=dict)
    consensus: Mapping[str, float] | None = None
    reason: str = ""
    padding: tuple[str, ...] = ()


def decide_weights(
    verdicts: Iterable[Verdict],
    scores: Mapping[str, float],
    last: WeightsSet | None,
    snapshot: SubnetSnapshot,
    hotkey: str,
    rules: Scoring,
    *,
    unjudged: int = 0,
) -> WeightsDecision:
    """The weights of ``hotkey`` after an epoch with these ``verdicts``. ``scores``: by hotkey, after the
    epoch. ``unjudged``: how many datasets had a place and got no verdict, since the epoch ended first.

    Without a validator permit nothing is sent: the chain would refuse it and may charge a fee. (Of a hotkey
    that is not registered the chain's adapter says so: its weights are decided like any other's.) Where the
    chain's minimum number of weights is not reached, further hotkeys get the smallest weight it can store;
    where there are not enough hotkeys, nothing is sent. With nothing evaluated the last weights are repeated
    for the hotkeys still registered. With no score, no weights to repeat, and a dataset not evaluated for a
    reason that is not its miner's, nothing is sent: a burn would punish that miner. Otherwise, where nobody
    has a score, everything is burned, provided that the owner's hotkey is registered: on any other uid the
    weight would pay a stranger.
    """
    if snapshot.neuron(hotkey) is not None and not snapshot.counts(hotkey):
        return WeightsDecision(
            Action.HOLD, reason="This hotkey has no validator permit, or less stake than the chain requires."
        )
    return _padded(_decided(list(verdicts), scores, last, snapshot, rules, unjudged), snapshot, hotkey)


def _decided(
    verdicts: list[Verdict],
    scores: Mapping[str, float],
    last: WeightsSet | None,
    snapshot: SubnetSnapshot,
    rules: Scoring,
    unjudged: int,
) -> WeightsDecision:
    evaluated = any(verdict.standing != "not_evaluated" for verdict in verdicts)
    repeated = _repeated(last, snapshot)
    if not evaluated and repeated:
        return WeightsDecision(Action.REPEAT, repeated, reason="No dataset was evaluated in this epoch.")
    hotkeys = {neuron.uid: neuron.hotkey for neuron in snapshot.neurons}
    consensus = {neuron.uid: neuron.consensus for neuron in snapshot.neurons}
    weights = weights_from_scores(scores, hotkeys, consensus, rules)
    if weights is not None:
        shown = {hotkeys[uid]: value for uid, value in consensus.items() if value > 0}
        return WeightsDecision(Action.SET, {hotkeys[uid]: each for uid, each in weights.items()}, shown)
    failed = unjudged + sum(each.standing == "not_evaluated" and each.reason is None for each in verdicts)
    if failed and last is None:
        why = f"{counted(failed, 'dataset')} could not be evaluated, and no earlier weights can be repeated."
        return WeightsDecision(Action.HOLD, reason=why)
    return _burned(snapshot, repeated)


def _burned(snapshot: SubnetSnapshot, repeated: Mapping[str, float]) -> WeightsDecision:
    hotkeys = {neuron.uid: neuron.hotkey for neuron in snapshot.neurons}
    if snapshot.burn_uid is not None:
        return WeightsDecision(Action.BURN, {hotkeys[snapshot.burn_uid]: 1.0}, reason="No miner has a score.")
    why = "No miner has a score, and no hotkey of the subnet's owner, which burns, is registered."
    if repeated:
        return WeightsDecision(Action.REPEAT, repeated, reason=why)
    return WeightsDecision(Action.HOLD, reason=why)


def _padded(decision: WeightsDecision, snapshot: SubnetSnapshot, hotkey: str) -> WeightsDecision:
    """The decision with the chain's minimum number of weights; HOLD where the subnet has fewer hotkeys.

    The chain stores weights in steps of 1/65535 of the largest, and counts those that are not 0. Missing ones
    get one step each: first hotkeys that earn nothing by it (the validator itself, whose own weight does not
    count, and the owner, whose share is burned), then the others by uid. Each step is taken from all in
    proportion, which changes no rank.
    """
    if decision.action is Action.HOLD:
        return decision
    step = max(decision.weights.values()) / U16_MAX
    kept = {each: weight for each, weight in decision.weights.items() if round(weight / step) > 0}
    missing = snapshot.min_allowed_weights - len(kept)
    if missing <= 0:
        return decision
    hotkeys = {neuron.uid: neuron.hotkey for neuron in snapshot.neurons}
    if snapshot.min_allowed_weights > len(hotkeys):
        return WeightsDecision(
            Action.HOLD,
            reason=f"The chain requires {snapshot.min_allowed_weights} weights, and the subnet has only "
            f"{len(hotkeys)} hotkeys: its owner must lower MinAllowedWeights.",
        )
    burns = [] if snapshot.burn_uid is None else [hotkeys[snapshot.burn_uid]]
    order = dict.fromkeys([hotkey, *burns, *hotkeys.values()])
    padding = tuple([each for each in order if each not in kept][:missing])
    weights = kept | dict.fromkeys(padding, step)
    total = sum(weights.values())
    return replace(
        decision, weights={each: weight / total for each, weight in weights.items()}, padding=padding
    )


def _repeated(last: WeightsSet | None, snapshot: SubnetSnapshot) -> dict[str, float]:
    """The last weights of hotkeys still registered, summing to 1; empty if there are none."""
    registered = {neuron.hotkey for neuron in snapshot.neurons}
    kept = {
        hotkey: weight for hotkey, weight in (last.weights if last else {}).items() if hotkey in registered
    }
    total = sum(kept.values())
    return {hotkey: weight / total for hotkey, weight in kept.items()} if total > 0 else {}
