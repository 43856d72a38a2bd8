"""The forecast before evaluation: how much of the queue will be finished."""

import logging
from collections.abc import Mapping, Sequence

from flockoff.competition import Competition
from flockoff.ledger import Ledger
from flockoff.logs import event
from flockoff.planner.forecast import Forecast, Pace, forecast, measured_pace
from flockoff.planner.memory import memory_need
from flockoff.planner.model import KNOWN_SIZES
from flockoff.records import Commitment, Epoch, ModelId, Precision
from flockoff.validate.clock import EpochClock
from flockoff.validate.validator import Validator

log = logging.getLogger(__name__)

_LOOK_BACK = 64  # evaluations to take pace and sizes from
_BYTES = {"float32": 4, "bfloat16": 2}


def log_forecast(
    validator: Validator,
    epoch: Epoch,
    plan: Sequence[Commitment],
    clock: EpochClock,
    checked: Mapping[ModelId, int] | None = None,
) -> None:
    """Log how many of the plan's datasets without a verdict will be evaluated in time.

    ``checked``: the tokens of those already downloaded and checked. None before that: only then the log says
    that nothing is known.
    """
    judged = {verdict.hotkey for verdict in validator.ledger.verdicts(epoch.start_block)}
    waiting = [commitment.model_id for commitment in plan if commitment.hotkey not in judged]
    if not waiting:
        return
    made = forecast_queue(
        validator.ledger,
        validator.competition,
        waiting,
        clock.seconds_left(),
        workers=validator.evaluator.devices,
        checked=checked or {},
        calibrated=validator.evaluator.seconds_per_token,
    )
    if made is None:
        if checked is None:
            log.info("Nothing was evaluated on this device yet, so how long the queue will take is unknown.")
        return
    about = event(
        "forecast",
        epoch=epoch.start_block,
        places=made.places,
        finished=made.finished,
        seconds=round(made.seconds_for_all),
    )
    log.info("Forecast: %s", made.sentence(), extra=about)


def forecast_queue(
    ledger: Ledger,
    competition: Competition,
    queue: Sequence[ModelId],
    time_left: float,
    *,
    workers: int,
    checked: Mapping[ModelId, int],
    calibrated: float | None = None,
) -> Forecast | None:
    """How far ``queue`` will get in ``time_left`` seconds, judging by evaluations so far.

    Sizes are known of datasets ``checked`` or evaluated before. ``calibrated``: training seconds per token,
    used until there is an evaluation by the same code and rules on the same kind of device. None if neither
    is known.
    """
    base = ledger.base_loss()
    past = [stored.evaluation for stored in ledger.views.evaluations(_LOOK_BACK)]
    if base is None:
        return None
    pace = measured_pace(base, [one.measurement for one in past])
    if pace is None and calibrated is not None:
        pace = Pace(calibrated, base.seconds)
    if pace is None:
        return None
    sizes = {one.model_id: one.measurement.train_tokens for one in past} | dict(checked)
    return forecast(
        [sizes.get(model_id) for model_id in queue],
        pace,
        time_left,
        largest=competition.limits.max_tokens,
        workers=workers,
        known=list(sizes.values()),
        memory=_memory(competition, base.provenance.precision),
    )


def _memory(competition: Competition, precision: Precision) -> int | None:
    """Bytes for training on the longest rows; None for a base model of unknown sizes."""
    size = KNOWN_SIZES.get(competition.base_model.repo)
    if size is None:
        return None
    return memory_need(
        size,
        competition,
        weight_bytes=_BYTES[precision.weights],
        compute_bytes=_BYTES[precision.compute],
        fused="gate" in precision.fused,
    ).recomputed
