"""The result of a check."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from flockoff.errors import FlockoffError

State = Literal["good", "doubtful", "bad", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``doubtful`` works, but not well or not for long; ``bad`` does not; ``unknown`` was not checked."""

    subject: str
    state: State
    found: str
    remedy: str = ""


Examination = Callable[[], Iterator[Finding]]


def examined(subject: str, look: Examination) -> Iterator[Finding]:
    """The findings of ``look``. A FlockoffError becomes a finding too, with its remedy."""
    try:
        yield from look()
    except FlockoffError as error:
        yield Finding(subject, "bad", error.message, error.remedy)
