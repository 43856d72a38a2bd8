"""Which weights an epoch ends with: set, repeat, burn or hold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from flockoff.competition import Scoring
from flockoff.records import SubnetSnapshot, Verdict, WeightsSet
from flockoff.scoring import weights_from_scores


class Action(StrEnum):
    SET = "set"  # what follows from the scores
    REPEAT = "repeat"  # the last weights again
    BURN = "burn"  # all to the subnet's owner, which the chain burns
    HOLD = "hold"  # nothing is sent


@dataclass(frozen=True, slots=True)
class WeightsDecision:
    """``weights``: by hotkey, positive, summing to 1; empty for HOLD. ``reason``: why it is not SET.

    ``consensus``: by hotkey, what the chain showed when they were made from the scores; None: they were not.
    """

    action: Action
    weights: Mapping[str, float] = field(default_factory=dict)
    consensus: Mapping[str, float] | None = None
    reason: str = ""


def decide_weights(
    verdicts: Iterable[Verdict],
    scores: Mapping[str, float],
    last: WeightsSet | None,
    snapshot: SubnetSnapshot,
    rules: Scoring,
) -> WeightsDecision:
    """The weights of an epoch of these ``verdicts``, after which the ``scores`` are these, by hotkey.

    With nothing evaluated the last weights are repeated, as far as their hotkeys are still there. With
    nothing evaluated through our own faults and no weights to repeat nothing is sent: a burn would have the
    miners pay for what is not their doing. Where nobody has a score all is burned, provided that the owner's
    hotkey is registered: on any other uid the weight would pay a stranger.
    """
    judged = list(verdicts)
    evaluated = any(verdict.standing != "not_evaluated" for verdict in judged)
    failed = any(verdict.standing == "not_evaluated" and verdict.reason is None for verdict in judged)
    repeated = _repeated(last, snapshot)
    if not evaluated and repeated:
        return WeightsDecision(Action.REPEAT, repeated, reason="No dataset was evaluated in this epoch.")
    if not evaluated and failed and last is None:
        return WeightsDecision(
            Action.HOLD, reason="No dataset could be evaluated, and there are no earlier weights to set."
        )
    hotkeys = {neuron.uid: neuron.hotkey for neuron in snapshot.neurons}
    consensus = {neuron.uid: neuron.consensus for neuron in snapshot.neurons}
    weights = weights_from_scores(scores, hotkeys, consensus, rules)
    if weights is not None:
        shown = {hotkeys[uid]: value for uid, value in consensus.items() if value > 0}
        return WeightsDecision(Action.SET, {hotkeys[uid]: each for uid, each in weights.items()}, shown)
    return _burned(snapshot, repeated)


def _burned(snapshot: SubnetSnapshot, repeated: Mapping[str, float]) -> WeightsDecision:
    if snapshot.owner_hotkey in {neuron.hotkey for neuron in snapshot.neurons}:
        return WeightsDecision(Action.BURN, {snapshot.owner_hotkey: 1.0}, reason="No miner has a score.")
    why = "No miner has a score, and the subnet owner's hotkey, which burns, is not registered."
    if repeated:
        return WeightsDecision(Action.REPEAT, repeated, reason=why)
    return WeightsDecision(Action.HOLD, reason=why)


def _repeated(last: WeightsSet | None, snapshot: SubnetSnapshot) -> dict[str, float]:
    """The last weights over the hotkeys that are still registered, summing to 1; empty where none is."""
    registered = {neuron.hotkey for neuron in snapshot.neurons}
    kept = {
        hotkey: weight for hotkey, weight in (last.weights if last else {}).items() if hotkey in registered
    }
    total = sum(kept.values())
    return {hotkey: weight / total for hotkey, weight in kept.items()} if total > 0 else {}
