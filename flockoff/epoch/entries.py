"""Which commitments count in an epoch, and whose commitment is at fault."""

from dataclasses import dataclass, replace

from flockoff.epoch.memory import Memory
from flockoff.errors import MinerFault, Reason
from flockoff.records import Commitment, Epoch, ModelId, Neuron, RawCommitment, SubnetSnapshot, Verdict


@dataclass(frozen=True, slots=True)
class Entries:
    """``counting``: at most one per hotkey, with the block in which the hotkey first committed that ModelId.
    ``seen``: this competition's commitments on the chain, with the chain's own blocks, to be remembered.
    ``verdicts``: on commitments that are malformed or gone, which need no evaluation.
    """

    counting: tuple[Commitment, ...]
    seen: tuple[Commitment, ...]
    verdicts: tuple[Verdict, ...]


def enter(snapshot: SubnetSnapshot, epoch: Epoch, memory: Memory, competition_id: str) -> Entries:
    """Sort out the commitments of ``snapshot``, taken at the epoch's first block or later.

    Commitments made before the epoch's start count. If a hotkey has committed anything since, well-formed or
    not, its last commitment before the start counts: committing anew must not let anyone skip a turn. At
    fault are hotkeys with a malformed commitment, and those with a score but no commitment to this
    competition: otherwise a miner could earn a score, withdraw, and keep the score for ever.
    """
    counting: list[Commitment] = []
    seen: list[Commitment] = []
    verdicts: list[Verdict] = []
    for neuron in snapshot.neurons:
        raw = snapshot.commitments.get(neuron.hotkey)
        is_late = raw is not None and raw.block >= epoch.start_block
        try:
            found = _commitment(neuron, raw, competition_id)
        except MinerFault as fault:
            if not is_late:
                verdicts.append(_at_fault(epoch, neuron, raw, fault))
                continue
            found = None
        if found is not None:
            seen.append(found)
        if is_late:
            earlier = memory.earlier.get(neuron.hotkey)
            if earlier is not None:
                counting.append(replace(earlier, uid=neuron.uid))
        elif found is not None:
            first_seen = memory.first_seen.get((neuron.hotkey, str(found.model_id)), found.block)
            counting.append(replace(found, block=min(first_seen, found.block)))
        elif memory.scores.get(neuron.hotkey, 0.0) > 0:
            verdicts.append(_at_fault(epoch, neuron, raw, _withdrawn()))
    return Entries(tuple(counting), tuple(seen), tuple(verdicts))


def enter_without_memory(snapshot: SubnetSnapshot, start_block: int, competition_id: str) -> Entries:
    """The entries of the epoch from ``start_block`` to a validator that remembers nothing."""
    return enter(snapshot, Epoch(start_block, start_block + 1, seed=0), Memory(), competition_id)


def _commitment(neuron: Neuron, raw: RawCommitment | None, competition_id: str) -> Commitment | None:
    """None for no commitment, or one for another competition. Raises MinerFault for a malformed one."""
    if raw is None:
        return None
    model_id = ModelId.parse(raw.text)
    if model_id.competition_id != competition_id:
        return None
    return Commitment(neuron.hotkey, neuron.uid, model_id, raw.block)


def _withdrawn() -> MinerFault:
    return MinerFault(
        Reason.COMMITMENT_MISSING,
        "The chain shows no commitment of this hotkey to this competition.",
        remedy="Commit a dataset to it.",
    )


def _at_fault(epoch: Epoch, neuron: Neuron, raw: RawCommitment | None, fault: MinerFault) -> Verdict:
    return Verdict(
        epoch=epoch.start_block,
        hotkey=neuron.hotkey,
        uid=neuron.uid,
        model_id=raw.text if raw else "",
        block=raw.block if raw else 0,
        standing="at_fault",
        reason=fault.reason,
        detail=str(fault),
    )
