"""The training loss and the evaluation loss.

Both are negative log-likelihoods in nats over assistant tokens, and run the output head only at the positions
that predict one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum

import torch

from flockoff.records import EncodedRow
from flockoff.training.dropout import RowDropout
from flockoff.training.head import negative_log_likelihoods, summed_loss
from flockoff.training.model import LanguageModel
from flockoff.training.packing import Pack, balanced_passes, pack, passes

_EVALUATION_TOKENS = 4096  # per pass without activations: more is no faster


def answer_states(model: LanguageModel, batch: Pack) -> torch.Tensor:
    """The hidden states that predict the batch's targets: (m, hidden), float32."""
    embedded = model.network.get_input_embeddings()(batch.input_ids).float()
    output = model.body(inputs_embeds=embedded, position_ids=batch.positions, rows=batch, use_cache=False)
    states: torch.Tensor = output.last_hidden_state[0].float().index_select(0, batch.places)
    return states


def add_step_gradients(
    model: LanguageModel,
    rows: Sequence[EncodedRow],
    rate: float,
    seed: int,
    step: int,
    on_rows: Callable[[int], None] = lambda done: None,
) -> float:
    """Add the gradients of one optimizer step's loss to the adapters'; returns that loss.

    It is the mean over all assistant tokens of ``rows``, however they are divided into passes. ``rate``: the
    adapters' dropout. Rows without any assistant token have a loss of 0 and no gradient. ``on_rows`` gets the
    number of rows done.
    """
    batches = [
        (group.start, pack([rows[number] for number in group], model.device))
        for group in _groups([len(row.input_ids) for row in rows], model)
    ]
    tokens = max(1, sum(len(batch.targets) for _, batch in batches))
    losses = []
    with model.adapters.training(model.compute):
        for first, batch in batches:
            again = sum(batch.lengths) > model.kept_tokens
            dropout = RowDropout(rate, seed, step, first, batch.lengths)
            model.adapters.begin_pass(dropout, model.device, again=again)
            losses.append(add_pass_gradients(model, batch, tokens))
            on_rows(first + len(batch.lengths))
    return fsum(torch.stack(losses).tolist())


def _groups(lengths: Sequence[int], model: LanguageModel) -> list[range]:
    """The passes of a step, of similar size on a GPU, which a small one would leave idle."""
    divide = passes if model.device.type == "cpu" else balanced_passes
    return divide(lengths, model.kept_tokens)


def add_pass_gradients(model: LanguageModel, batch: Pack, tokens: int) -> torch.Tensor:
    """Add the gradients of one pass, in a step of ``tokens`` assistant tokens; returns its share of the
    loss."""
    states = answer_states(model, batch)
    loss = summed_loss(states, model.head, batch.targets, model.compute) / tokens
    torch.autograd.backward(loss)
    return loss.detach()


@dataclass(frozen=True, slots=True)
class RowLosses:
    """Each row's summed negative log-likelihood, in the rows' order."""

    nll: tuple[float, ...]  # nats
    tokens: int  # assistant tokens of all rows

    @property
    def mean(self) -> float:
        """Nats per assistant token."""
        return fsum(self.nll) / self.tokens


def row_losses(model: LanguageModel, rows: Sequence[EncodedRow], on_rows: Callable[[int], None]) -> RowLosses:
    """Measure ``rows`` without dropout, in float32, summed in float64, with the adapter as it is.

    ``on_rows`` gets the number of rows done. Rows are grouped by length, so a row's loss does not depend on
    its place in ``rows``.
    """
    order = sorted(range(len(rows)), key=lambda row: (len(rows[row].input_ids), rows[row].input_ids))
    nll = [0.0] * len(rows)
    tokens = done = 0
    with torch.no_grad():
        for group in passes([len(rows[row].input_ids) for row in order], _EVALUATION_TOKENS):
            members = [order[place] for place in group]
            batch = pack([rows[row] for row in members], model.device)
            for row, value in zip(members, _row_sums(model, batch), strict=True):
                nll[row] = value
            tokens += len(batch.targets)
            done += len(members)
            on_rows(done)
    return RowLosses(tuple(nll), tokens)


def _row_sums(model: LanguageModel, batch: Pack) -> list[float]:
    losses = negative_log_likelihoods(answer_states(model, batch), model.head, batch.targets)
    sums = torch.zeros(len(batch.lengths), dtype=torch.float64, device=model.device)
    sums.index_add_(0, batch.row_of, losses.double())
    return sums.tolist()
