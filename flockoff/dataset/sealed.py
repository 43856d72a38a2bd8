"""The sealed set's rule: whether a dataset learned the public evaluation set rather than the task.

A dataset's gain on a set of conversations is the share of the base model's loss that training removes: ``1 -
loss / base_loss``. Training on answers of the public set, however reworded, gains more there than on unseen
conversations; honest data gains the same on both, up to chance in how conversations fall into the sets. That
chance has a standard deviation of ``deviation * sqrt(1 / n + 1 / m)``, where n and m are the numbers of rows
and ``deviation`` that of the gain on a single row. So the margin is

    allowance + deviations * deviation * sqrt(1 / n + 1 / m)

with the constants of the competition's ``[sealed]`` table. An example, with 256 public and 64 sealed rows and
the defaults (0.01, 4 and 0.06): sqrt(1/256 + 1/64) = 0.140, so the margin is 0.01 + 4 * 0.06 * 0.140 = 0.044.
A dataset with gains of 30 % public and 12 % sealed is 18 points apart: contaminated. One with 8.5 % and 7.1 %
is not.

The defaults come from honest datasets measured on random splits of 24 rows from the rest, where the
difference had a standard deviation of 1.2 to 1.4 points, which is 0.06 a row; they differed by 0.7 points at
most between a whole public and a whole sealed set. Training on paraphrases of the public set made 14 to 58
points.
"""

import math

from flockoff.competition import SealedSet
from flockoff.errors import MinerFault, Reason
from flockoff.records import Measurement


def public_loss(measurement: Measurement) -> float:
    """The loss on the public set alone, nats per assistant token; ``Measurement.loss`` blends both sets.

    Raises ValueError for a measurement without its rows' losses.
    """
    if not measurement.row_nll:
        raise ValueError("the measurement has no losses by row")
    return sum(measurement.row_nll) / measurement.eval_tokens


def gain(loss: float, base_loss: float) -> float:
    """The share of the base model's loss removed; negative if training made it worse."""
    return 1 - loss / base_loss


def sealed_margin(public_rows: int, sealed_rows: int, rules: SealedSet) -> float:
    """By how much the public gain may exceed the sealed one, for sets of these sizes, each at least 1."""
    luck = rules.gap_deviation * math.sqrt(1 / public_rows + 1 / sealed_rows)
    return rules.gap_allowance + rules.gap_deviations * luck


def sealed_gap_fault(
    measured: Measurement, base: Measurement, sealed_rows: int, rules: SealedSet
) -> MinerFault | None:
    """The fault of a dataset that gained more on the public set than its gain on the sealed one explains.

    ``measured``: after training on the dataset; ``base``: the base model's own. Both need ``row_nll``,
    ``eval_tokens`` and ``sealed_loss``. ``sealed_rows``: how many rows the sealed set has. None within the
    margin. Raises ValueError where one of the two lacks what it takes.
    """
    if measured.sealed_loss is None or base.sealed_loss is None:
        raise ValueError("both measurements need a loss on the sealed set")
    public = gain(public_loss(measured), public_loss(base))
    sealed = gain(measured.sealed_loss, base.sealed_loss)
    return gap_fault(public, sealed, sealed_margin(len(measured.row_nll), sealed_rows, rules))


def gap_fault(public: float, sealed: float, margin: float) -> MinerFault | None:
    """The same from the two gains and the margin."""
    if public - sealed <= margin:
        return None
    return MinerFault(
        Reason.CONTAMINATED,
        "The dataset teaches answers of the public evaluation set rather than how to answer: training on it"
        f" takes {public:.1%} off the loss there, but {sealed:.1%} off that on the sealed set,"
        f" {100 * (public - sealed):.1f} points apart where {100 * margin:.1f} are allowed.",
        remedy="Remove what was made from the public evaluation set, in whatever words, and commit again.",
    )
