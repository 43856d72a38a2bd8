"""How much of an epoch's queue this machine will finish, by what its evaluations took so far."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from flockoff.records import Measurement
from flockoff.text import counted, duration


@dataclass(frozen=True, slots=True)
class Pace:
    """What one worker of this machine takes."""

    seconds_per_token: float  # of a dataset: all passes over it together
    evaluation: float  # seconds of the evaluation set

    def seconds(self, tokens: int) -> float:
        """Of one evaluation: training on ``tokens`` tokens (of one pass) and measuring."""
        return tokens * self.seconds_per_token + self.evaluation


def measured_pace(base: Measurement, past: Iterable[Measurement]) -> Pace | None:
    """The pace of evaluations made as ``base`` was: by the same code, on the same kind of device.

    ``base``: the base model's measurement, which is evaluating without training. None where no such
    evaluation took longer than that.
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
    """What becomes of a queue. All seconds count from the moment of the forecast."""

    places: int  # datasets that are still to be evaluated
    finished: int  # of them, before the time is over
    seconds: float  # until the last of those that are finished
    seconds_for_all: float  # until the last of all, if time went on
    time_left: float  # seconds for evaluating
    tokens: int  # of one pass over all datasets
    unseen: int  # datasets whose size is not known yet
    assumed_tokens: int  # that each of those is taken to have
    memory: int | None  # bytes that training needs on the device; None where it was not counted

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

    ``queue``: each dataset's tokens of one pass, first place first; None where they are not known yet. These
    are then assumed to be the median of those that are known, in this queue and in ``known`` from before, or
    ``largest``, the most that the rules allow, where none are.
    ``time_left``: seconds until evaluating must end; what is still running then is lost.
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
    """When each ends, if whoever is free takes the next."""
    free = [0.0] * workers
    ends = []
    for seconds in durations:
        end = heapq.heappop(free) + seconds
        heapq.heappush(free, end)
        ends.append(end)
    return ends
