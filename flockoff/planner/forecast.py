"""How much of an epoch's queue this machine will finish, judging by its evaluations so far."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from flockoff.records import Measurement
from flockoff.text import counted, duration


@dataclass(frozen=True, slots=True)
class Pace:
    """The speed of one worker of this machine."""

    seconds_per_token: float  # of a dataset, all passes together
    evaluation: float  # seconds for the evaluation set

    def seconds(self, tokens: int) -> float:
        """The time of one evaluation, for a dataset of ``tokens`` tokens per pass."""
        return tokens * self.seconds_per_token + self.evaluation


def measured_pace(base: Measurement, past: Iterable[Measurement]) -> Pace | None:
    """The pace of past evaluations with the same code and kind of device as ``base``.

    ``base``: the base model's measurement, which is evaluation without training. None where no such
    evaluation took longer than it.
    """
    per_token = [
        (one.seconds - base.seconds) / one.train_tokens
        for one in past
        if one.train_tokens > 0 and one.seconds > base.seconds and _alike(one, base)
    ]
    return Pace(median(per_token), base.seconds) if per_token else None


def _alike(one: Measurement, other: Measurement) -> bool:
    first, second = one.provenance, other.provenance
    return (first.code_version, first.device, first.precision, first.base_model, first.evaluation_set) == (
        second.code_version,
        second.device,
        second.precision,
        second.base_model,
        second.evaluation_set,
    )


@dataclass(frozen=True, slots=True)
class Forecast:
    """How far a queue will get. All times are seconds from the moment of the forecast."""

    places: int  # datasets still to be evaluated
    finished: int  # of them, in the time left
    seconds: float  # until the last of those finished
    seconds_for_all: float  # until the last of all, given unlimited time
    time_left: float  # seconds for evaluating
    tokens: int  # per pass, all datasets
    unseen: int  # datasets of unknown size
    assumed_tokens: int  # assumed for each of those
    memory: int | None  # bytes that training needs on the device; None: unknown

    def sentence(self) -> str:
        fit = counted(self.places, "dataset fits", "datasets fit")
        text = f"{self.finished} of {fit} into the {duration(self.time_left)} that are left"
        if self.finished == self.places:
            text += f", in {duration(self.seconds)}"
        else:
            text += f"; all would take {duration(self.seconds_for_all)}"
        text += f": {counted(self.tokens, 'token')}"
        if self.unseen:
            text += f", where {self.unseen} of unknown size count {self.assumed_tokens:,} each"
        if self.memory is not None:
            text += f"; training needs about {self.memory / 2**30:.1f} GiB"
        return text + "."


def forecast(
    queue: Sequence[int | None],
    pace: Pace,
    time_left: float,
    *,
    largest: int,
    workers: int = 1,
    known: Sequence[int] = (),
    memory: int | None = None,
) -> Forecast:
    """Simulate the queue: each worker takes the next dataset as soon as it is free.

    ``queue``: each dataset's tokens per pass, in order; None where unknown. These are assumed to be the
    median of the known ones, in this queue and in ``known`` from before, or, where none are known,
    ``largest``, the most that the rules allow.
    ``time_left``: seconds until evaluation must end; what is still running then is lost.
    """
    seen = [tokens for tokens in queue if tokens is not None]
    assumed = round(median([*seen, *known])) if seen or known else largest
    sizes = [assumed if tokens is None else tokens for tokens in queue]
    ends = _ends([pace.seconds(tokens) for tokens in sizes], workers)
    in_time = [end for end in ends if end <= time_left]
    return Forecast(
        places=len(sizes),
        finished=len(in_time),
        seconds=max(in_time, default=0.0),
        seconds_for_all=max(ends, default=0.0),
        time_left=time_left,
        tokens=sum(sizes),
        unseen=len(queue) - len(seen),
        assumed_tokens=assumed,
        memory=memory,
    )


def _ends(durations: Sequence[float], workers: int) -> list[float]:
    """When each ends, if every free worker takes the next."""
    free = [0.0] * workers
    ends = []
    for seconds in durations:
        end = heapq.heappop(free) + seconds
        heapq.heappush(free, end)
        ends.append(end)
    return ends
