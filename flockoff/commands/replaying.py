"""The work of ``flockoff replay``: measures a stored evaluation again, and compares the two."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flockoff.errors import UsageError
from flockoff.ports import Evaluator, OnProgress, ShouldStop
from flockoff.records import Evaluation, Measurement, Provenance

# Relative. Other devices, libraries or batch layouts were seen to change a loss by 4e-7 to 1e-4; this is
# still a fifth of the epsilon that decides between two datasets.
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference: ``what`` is a part of the provenance or of the training."""

    what: str
    then: str
    now: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A stored measurement and its replay. Losses in nats per assistant token, changes relative to then."""

    then: float
    now: float
    change: float  # of the loss
    largest_row_change: float | None  # of any evaluation row's; None if rows were not measured individually
    bit_for_bit: bool  # the losses, the sealed one's and every row's
    differences: tuple[Difference, ...]

    @property
    def agrees(self) -> bool:
        """Bit for bit, or within ``TOLERANCE`` if a difference in setup explains it."""
        return self.bit_for_bit or (bool(self.differences) and abs(self.change) <= TOLERANCE)


def replayed(
    evaluation: Evaluation,
    dataset: Path,
    evaluator: Evaluator,
    on_progress: OnProgress,
    should_stop: ShouldStop,
) -> Measurement:
    """Measure ``evaluation`` again from ``dataset``, which must have the same content. Raises UsageError if
    the evaluator's competition has another base model or evaluation set, and what ``Evaluator.evaluate``
    raises.
    """
    base = evaluator.base_loss(on_progress=on_progress, should_stop=should_stop)
    _require_same_rules(evaluation.measurement.provenance, base.provenance)
    return evaluator.evaluate(
        dataset,
        evaluation.content_hash,
        evaluation.measurement.provenance.seed,
        tokens=evaluation.measurement.train_tokens,
        left_out=evaluation.left_out,
        on_progress=on_progress,
        should_stop=should_stop,
    )


def _require_same_rules(then: Provenance, now: Provenance) -> None:
    pairs = (
        ("base model", then.base_model, now.base_model),
        ("evaluation set", then.evaluation_set, now.evaluation_set),
    )
    for what, stored, given in pairs:
        if stored != given:
            raise UsageError(
                f"This evaluation was made with the {what} {stored}, but the rules given have {given}.",
                remedy="Give the competition file that the validator had then with --competition.",
            )


def compared(then: Measurement, now: Measurement) -> Comparison:
    """``then`` is stored, ``now`` the replay."""
    return Comparison(
        then=then.loss,
        now=now.loss,
        change=now.loss / then.loss - 1,
        largest_row_change=_largest_row_change(then.row_nll, now.row_nll),
        bit_for_bit=(then.loss, then.sealed_loss) == (now.loss, now.sealed_loss)
        and then.row_nll in ((), now.row_nll),
        differences=tuple(_differences(then, now)),
    )


def _largest_row_change(then: tuple[float, ...], now: tuple[float, ...]) -> float | None:
    if not then or len(then) != len(now):
        return None
    return max(abs(after / before - 1) for before, after in zip(then, now, strict=True) if before)


def _differences(then: Measurement, now: Measurement) -> Iterator[Difference]:
    """Differences in training, which depends on the rules, then in machine and software."""
    past, present = _described(then), _described(now)
    for what in {**past, **present}:
        before, after = past.get(what, "none"), present.get(what, "none")
        if before != after:
            yield Difference(what, before, after)


def _described(measurement: Measurement) -> dict[str, str]:
    made = measurement.provenance
    return {
        "rows trained on": str(measurement.train_rows),
        "tokens per pass": str(measurement.train_tokens),
        "optimizer steps": str(measurement.steps),
        "device": str(made.device),
        "precision": str(made.precision),
        "flockoff": made.code_version,
        **made.libraries,
    }
