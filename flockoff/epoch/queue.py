"""The eval queue: who is evaluated in an epoch, in what order, and how long the others wait."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flockoff.competition import Queue
from flockoff.epoch.memory import Memory
from flockoff.errors import FaultKind
from flockoff.records import Commitment, Epoch
from flockoff.scoring import Candidate, longest_wait, plan_epoch

_AHEAD_OF_AWAITED = 2


@dataclass(frozen=True, slots=True)
class EvalQueue:
    """``places``: the commitments to evaluate, first place first.

    ``age``: the longest wait, in blocks since the last evaluation or, failing that, the first commitment.
    """

    places: tuple[Commitment, ...]
    age: int


def form_queue(counting: Iterable[Commitment], memory: Memory, rules: Queue, epoch: Epoch) -> EvalQueue:
    """The places of ``epoch`` among the commitments that count in it.

    A dataset that an epoch's end cut off comes third at the latest, and second or first where the validator
    measured fewer than four, or two, in its latest epoch. So one that is cut off again and again comes first
    in the third epoch after, and is then measured, or known to be too slow. One that a worker failed on
    goes last, so that what breaks this machine's workers, or takes all their time, does not cost the others
    their turn: for one epoch, for three after the second such failure in a row, then for seven, and so on.
    Not for ever, since a validator that never reaches the end of its queue would not try it again. After
    that, one that has a score comes as early as what was cut off, so that it keeps none for want of tries.
    """
    commitments = {commitment.hotkey: commitment for commitment in counting}
    found = candidates({hotkey: each.block for hotkey, each in commitments.items()}, memory)
    since = [each.first_block if each.last_evaluated is None else each.last_evaluated for each in found]
    order = plan_epoch(found, rules, epoch.seed)
    last = {hotkey for hotkey in order if _goes_last(hotkey, memory, epoch)}
    awaited = {hotkey for hotkey in order if _is_awaited(hotkey, memory)} - last
    turns = sorted(order, key=lambda hotkey: hotkey in last)
    ahead = min(_AHEAD_OF_AWAITED, memory.measured // 2)
    turns[ahead:] = sorted(turns[ahead:], key=lambda hotkey: hotkey not in awaited)
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


def _is_awaited(hotkey: str, memory: Memory) -> bool:
    """Whether its dataset was begun and not finished: cut off, or failed although it has a score to lose."""
    last = memory.last_verdicts.get(hotkey)
    if last is None:
        return False
    return last.fault is FaultKind.STOPPED or (last.set_aside and memory.scores.get(hotkey, 0.0) > 0)


def _goes_last(hotkey: str, memory: Memory, epoch: Epoch) -> bool:
    last = memory.last_verdicts.get(hotkey)
    if last is None or not last.set_aside:
        return False
    failures = max(1, memory.missed.get(hotkey, 0))
    return epoch.start_block < last.epoch + (1 << failures) * epoch.blocks
