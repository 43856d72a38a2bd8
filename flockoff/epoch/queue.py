"""The eval queue: who is evaluated in an epoch, in what order, and how long the others wait."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flockoff.competition import Queue
from flockoff.epoch.memory import Memory
from flockoff.errors import FaultKind
from flockoff.records import Commitment, Epoch
from flockoff.scoring import Candidate, longest_wait, plan_epoch


@dataclass(frozen=True, slots=True)
class EvalQueue:
    """``places``: the commitments to evaluate, first place first.

    ``age``: the longest wait, in blocks since the last evaluation or, failing that, the first commitment.
    """

    places: tuple[Commitment, ...]
    age: int


def form_queue(counting: Iterable[Commitment], memory: Memory, rules: Queue, epoch: Epoch) -> EvalQueue:
    """The places of ``epoch`` among the commitments that count in it.

    A dataset whose evaluation the last epoch's end cut off comes third at the latest, behind two that have
    waited: with most of an epoch's time it is measured, or known to be too slow. One that a worker failed on
    goes last, so that what breaks this machine's workers, or takes all their time, does not cost the others
    their turn: for one epoch, for three after the second such failure in a row, then for seven, and so on.
    Not for ever, since a validator that never reaches the end of its queue would not try it again.
    """
    commitments = {commitment.hotkey: commitment for commitment in counting}
    found = candidates({hotkey: each.block for hotkey, each in commitments.items()}, memory)
    since = [each.first_block if each.last_evaluated is None else each.last_evaluated for each in found]
    order = plan_epoch(found, rules, epoch.seed)
    turns = sorted(order, key=lambda hotkey: _goes_last(hotkey, memory, epoch))
    turns[2:] = sorted(turns[2:], key=lambda hotkey: not _was_cut_off(hotkey, memory))
    return EvalQueue(
        tuple(commitments[hotkey] for hotkey in turns),
        epoch.start_block - min(since, default=epoch.start_block),
    )


def candidates(blocks: Mapping[str, int], memory: Memory) -> list[Candidate]:
    """The candidates for a place. ``blocks``: by hotkey, the block of the commitment that counts."""
    return [
        Candidate(
            hotkey=hotkey,
            score=memory.scores.get(hotkey, 0.0),
            first_block=min(memory.first_blocks.get(hotkey, block), block),
            last_evaluated=memory.last_evaluated.get(hotkey),
            tokens=memory.tokens.get(hotkey),
        )
        for hotkey, block in blocks.items()
    ]


def epochs_to_wait(blocks: Mapping[str, int], memory: Memory, rules: Queue) -> dict[str, int]:
    """By hotkey, the most epochs until it has a place; 1 is the next one. ``blocks`` as above."""
    found = candidates(blocks, memory)
    return {hotkey: longest_wait(found, hotkey, rules) for hotkey in blocks}


def _was_cut_off(hotkey: str, memory: Memory) -> bool:
    last = memory.last_verdicts.get(hotkey)
    return last is not None and last.fault is FaultKind.STOPPED


def _goes_last(hotkey: str, memory: Memory, epoch: Epoch) -> bool:
    last = memory.last_verdicts.get(hotkey)
    if last is None or not last.set_aside:
        return False
    failures = max(1, memory.missed.get(hotkey, 0))
    return epoch.start_block < last.epoch + (1 << failures) * epoch.blocks
