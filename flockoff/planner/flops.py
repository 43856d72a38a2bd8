"""How many floating-point operations an evaluation needs, independent of the implementation.

Only required work counts: no padding, no position whose prediction does not count, no recomputation, no
unused gradient. So operations ÷ seconds ÷ the device's peak is its model FLOPs utilisation (MFU).

A product of (m, k) and (k, n) matrices is 2·m·k·n operations. What is left out (norms, activations, rotary
positions, softmax, the optimizer) is under 1 % of the operations, though not of the time.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from flockoff.competition import Competition
from flockoff.planner.model import Linear, ModelSize


@dataclass(frozen=True, slots=True)
class Load:
    """The amount of work in the rows of a dataset or evaluation set."""

    rows: int
    tokens: int
    targets: int  # assistant tokens, whose prediction counts in the loss
    pairs: int  # sum over the rows of n (n + 1) / 2: each token attends to itself and those before it

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int]]) -> "Load":
        """``rows``: each row's number of tokens, and how many of them are targets."""
        counts = list(rows)
        return cls(
            rows=len(counts),
            tokens=sum(tokens for tokens, _ in counts),
            targets=sum(targets for _, targets in counts),
            pairs=sum(tokens * (tokens + 1) // 2 for tokens, _ in counts),
        )

    @classmethod
    def uniform(cls, rows: int, tokens_per_row: int, target_share: float) -> "Load":
        """Rows of one length, ``target_share`` of whose tokens are targets."""
        return cls(
            rows=rows,
            tokens=rows * tokens_per_row,
            targets=round(rows * tokens_per_row * target_share),
            pairs=rows * (tokens_per_row * (tokens_per_row + 1) // 2),
        )


def forward_flops(size: ModelSize, rank: int, load: Load) -> int:
    """Operations of the loss of ``load`` under the base model with an adapter of rank ``rank``.

    - linear layers: 2·in·out a token each;
    - adapters: 2·rank·(in + out) a token and linear layer, not merged into it;
    - attention: scores and values, 2·2·head_dim·heads a pair of tokens and layer;
    - head: 2·hidden·vocabulary a target.
    """
    linear = sum(2 * one.inputs * one.outputs + 2 * rank * (one.inputs + one.outputs) for one in size.linears)
    attention = 4 * size.attention_width
    head = 2 * size.hidden * size.vocabulary
    return size.layers * (linear * load.tokens + attention * load.pairs) + head * load.targets


def backward_flops(size: ModelSize, rank: int, load: Load) -> int:
    """Operations of the adapter's gradients, after the forward pass.

    - linear layers: 2·in·out a token each for the gradient of their input; their weights are frozen;
    - adapters: 4·rank·(in + out), for the gradients of input and weights;
    - attention: twice its forward pass;
    - head: 2·hidden·vocabulary a target, for the gradient of its input; it is frozen too;
    - less the gradient of the first layer's input: the embeddings are frozen.
    """
    linear = sum(2 * one.inputs * one.outputs + 4 * rank * (one.inputs + one.outputs) for one in size.linears)
    attention = 8 * size.attention_width
    head = 2 * size.hidden * size.vocabulary
    unused = sum(_input_gradient(one, rank) for one in size.linears if one.reads_layer_input)
    return (
        size.layers * (linear * load.tokens + attention * load.pairs)
        + head * load.targets
        - (unused * load.tokens)
    )


def _input_gradient(linear: Linear, rank: int) -> int:
    return 2 * linear.inputs * linear.outputs + 2 * rank * linear.inputs


def training_flops(size: ModelSize, competition: Competition, load: Load) -> int:
    """Operations of training on the dataset ``load``: all passes, forward and backward."""
    rank = competition.lora.rank
    one_pass = forward_flops(size, rank, load) + backward_flops(size, rank, load)
    return competition.training.epochs * one_pass


def evaluation_flops(size: ModelSize, competition: Competition, load: Load) -> int:
    """Operations of measuring a trained adapter on the evaluation set ``load``."""
    return forward_flops(size, competition.lora.rank, load)
