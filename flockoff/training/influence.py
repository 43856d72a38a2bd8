"""Which rows of a dataset help: how far learning each one lowers the evaluation loss.

A step along a row's gradient changes the evaluation loss in proportion to the dot product of that gradient
with the evaluation set's (TracIn: Pruthi and others, 2020). The same product is the slope of the row's loss
along the evaluation set's gradient. So one backward pass over the evaluation set and two forward passes over
the dataset, with the adapter moved a little to either side, give it for every row at once: no row needs a
backward pass of its own. ``python -m tests.bench influence`` compares it with what leaving rows out costs.
"""

from collections.abc import Callable, Sequence

import torch

from flockoff.records import EncodedRow
from flockoff.training.loss import add_step_gradients, row_losses
from flockoff.training.model import LanguageModel
from flockoff.training.together import add_each, copy_each

_MOVED = 0.01  # nats per token of the evaluation set: far above rounding, and the slope is still straight

OnRows = Callable[[int, int], None]  # rows done, of how many


def row_influence(
    model: LanguageModel, rows: Sequence[EncodedRow], evaluation_set: Sequence[EncodedRow], on_rows: OnRows
) -> tuple[float, ...]:
    """(n_rows,): what each row does for the evaluation loss, in tokens of the evaluation set.

    A row's value, divided by its assistant tokens, is 1 where learning one of them helps as much as learning
    one of the evaluation set's own does on average, 0 where it does nothing, and negative where it harms. At
    the adapter as it is, without dropout; its gradients are cleared, its values are the same afterwards.
    Not finite where a loss or a gradient is not, or where nothing can lower the evaluation loss.
    """
    parameters: list[torch.Tensor] = [*model.adapters.parameters()]
    first, total = len(evaluation_set), len(evaluation_set) + 2 * len(rows)
    _clear(parameters)
    try:
        add_step_gradients(
            model, evaluation_set, rate=0.0, seed=0, step=0, on_rows=lambda done: on_rows(done, total)
        )
        gradients = [
            torch.zeros_like(value) if value.grad is None else value.grad.clone() for value in parameters
        ]
    finally:
        _clear(parameters)
    squared = float(torch.stack([(each.double() ** 2).sum() for each in gradients]).sum())
    if not squared > 0:
        return (float("nan"),) * len(rows)
    step = _MOVED / squared  # moves the evaluation loss by this times the square: ``_MOVED``
    kept = [value.detach().clone() for value in parameters]
    sides = []
    try:
        for place, side in enumerate((step, -step)):
            before = first + place * len(rows)
            with torch.no_grad():
                copy_each(parameters, kept)
                add_each(parameters, gradients, times=side)
            sides.append(row_losses(model, rows, lambda done, at=before: on_rows(at + done, total)).nll)  # type: ignore[misc]
    finally:
        with torch.no_grad():
            copy_each(parameters, kept)
    return tuple((up - down) / (2 * _MOVED) for up, down in zip(*sides, strict=True))


def _clear(parameters: Sequence[torch.Tensor]) -> None:
    for value in parameters:
        value.grad = None
