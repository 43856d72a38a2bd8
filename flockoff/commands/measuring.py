"""The work of ``flockoff score``: measures datasets as a validator would, and caches the results."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev

from flockoff import __version__
from flockoff.competition import Competition
from flockoff.dataset import Judgement
from flockoff.ports import Evaluator, OnProgress, ShouldStop
from flockoff.records import Measurement

_TRAINING_PER_EVALUATION = 2.8  # time per trained token ÷ time per evaluated token; measured on two cores


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A checked dataset, ready to be measured."""

    name: str
    path: Path
    judgement: Judgement

    @property
    def content_hash(self) -> str:
        assert self.judgement.report.content_hash is not None, "only a valid dataset is measured"
        return self.judgement.report.content_hash


@dataclass(frozen=True, slots=True)
class KindGain:
    """The effect of training on the evaluation rows of one kind."""

    kind: str
    rows: int
    helped: int  # rows whose loss fell
    change: float  # of their summed loss, relative; negative is better


class Measurements:
    """Measurements on disk, so that an interrupted run can resume.

    One is reused only for the same content, seed, rules, code and libraries.
    """

    def __init__(self, directory: Path, competition: Competition, base: Measurement) -> None:
        self._directory = directory
        self._provenance = base.provenance
        rules = json.dumps(asdict(competition), sort_keys=True)
        self._setting = hashlib.sha256(f"{__version__} {rules}".encode()).hexdigest()

    def find(self, candidate: CheckedFile, seed: int) -> Measurement | None:
        try:
            found = Measurement.from_table(
                json.loads(self._file(candidate, seed).read_text(encoding="utf-8"))
            )
        except (OSError, ValueError, TypeError, KeyError):  # missing, truncated, or of another version
            return None
        return found if replace(found.provenance, seed=self._provenance.seed) == self._provenance else None

    def keep(self, candidate: CheckedFile, seed: int, measurement: Measurement) -> None:
        file = self._file(candidate, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(measurement)), encoding="utf-8")
        part.replace(file)

    def _file(self, candidate: CheckedFile, seed: int) -> Path:
        what = f"{self._setting} {candidate.content_hash} {candidate.judgement.left_out} {seed}"
        return self._directory / f"{hashlib.sha256(what.encode()).hexdigest()}.json"


def measured(
    candidate: CheckedFile,
    seed: int,
    evaluator: Evaluator,
    kept: Measurements,
    on_progress: OnProgress,
    should_stop: ShouldStop,
) -> Measurement:
    """The candidate's measurement under ``seed``, from the cache or new. Raises what ``Evaluator.evaluate``
    does.
    """
    found = kept.find(candidate, seed)
    if found is not None:
        return found
    measurement = evaluator.evaluate(
        candidate.path,
        candidate.content_hash,
        seed,
        tokens=candidate.judgement.report.tokens,
        left_out=candidate.judgement.left_out,
        on_progress=on_progress,
        should_stop=should_stop,
    )
    kept.keep(candidate, seed, measurement)
    return measurement


def expected_seconds(tokens: int, epochs: int, base: Measurement, evaluated_tokens: int) -> float:
    """The expected time of an evaluation with ``tokens`` per pass, from the base model's time."""
    a_token = base.seconds / max(evaluated_tokens, 1)
    return base.seconds + tokens * epochs * _TRAINING_PER_EVALUATION * a_token


def gains(base: Measurement, measurements: Sequence[Measurement], kinds: Sequence[str]) -> list[KindGain]:
    """The effect of training by kind of evaluation row, the mean over ``measurements``; best first.
    ``kinds``: each evaluation row's, in the file's order. Empty if rows were not measured individually.
    """
    rows = len(base.row_nll)
    if not rows or any(len(each.row_nll) != rows for each in measurements):
        return []
    after = [mean(each.row_nll[row] for each in measurements) for row in range(rows)]
    found = []
    for kind in dict.fromkeys(kinds[:rows]):
        places = [place for place in range(rows) if kinds[place] == kind]
        before = sum(base.row_nll[place] for place in places)
        change = sum(after[place] for place in places) / before - 1 if before else 0.0
        helped = sum(after[place] < base.row_nll[place] for place in places)
        found.append(KindGain(kind, len(places), helped, change))
    return sorted(found, key=lambda gain: gain.change)


def extremes(base: Measurement, measurements: Sequence[Measurement], count: int) -> list[tuple[int, float]]:
    """The evaluation rows, by 1-based line, whose loss changed most: ``count`` improvements, then
    deteriorations. Changes are relative, the mean over ``measurements``.
    """
    changes = [
        (line, mean(each.row_nll[line - 1] for each in measurements) / before - 1)
        for line, before in enumerate(base.row_nll, 1)
        if before
    ]
    ranked = sorted(changes, key=lambda change: change[1])
    return ranked[:count] + ranked[max(count, len(ranked) - count) :]


def spread(values: Iterable[float]) -> tuple[float, float | None]:
    """Mean and standard deviation of a sample; None for the latter of a single value."""
    listed = list(values)
    return mean(listed), stdev(listed) if len(listed) > 1 else None
