"""The eval queue: who is evaluated in an epoch, in what order, and how long the others wait."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flockoff.competition import Queue
from flockoff.epoch.memory import Memory
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

    A dataset that a worker failed on last time goes last, so that one that breaks this machine's workers does
    not cost the others their turn. One that the epoch's end cut off does not.
    """
    commitments = {commitment.hotkey: commitment for commitment in counting}
    found = candidates({hotkey: each.block for hotkey, each in commitments.items()}, memory)
    since = [each.first_block if each.last_evaluated is None else each.last_evaluated for each in found]
    order = plan_epoch(found, rules, epoch.seed)
    last = sorted(order, key=lambda hotkey: _was_set_aside(hotkey, memory))
    return EvalQueue(
        tuple(commitments[hotkey] for hotkey in last),
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


def _was_set_aside(hotkey: str, memory: Memory) -> bool:
    last = memory.last_verdicts.get(hotkey)
    return last is not None and last.set_aside
