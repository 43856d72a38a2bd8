"""How much memory training needs, estimated before anything is loaded."""

from dataclasses import dataclass

from flockoff.competition import Competition
from flockoff.planner.model import ModelSize

HEAD_POSITIONS = 2048  # whose logits are in memory at a time
HEAD_BLOCK = 4096  # of the vocabulary, whose logits are made at a time; more would not stay in the cache
HEAD_BLOCK_ON_CARD = 16384  # training in bfloat16, where a small product leaves much of the card idle
COMFORT = 0.8  # of the device's memory: activations are kept, not computed again, where all fits into it
_FLOAT32_BYTES = 4
_ADAM = 4  # numbers for each of the adapter's: itself, its gradient and two moments


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that training needs, and of how many tokens the longest row is."""

    fixed: int  # weights, the adapter and its optimizer's state, the logits that there are at a time
    token: int  # for each token of a pass that keeps all activations
    recomputed_token: int  # for each token of a pass that keeps each layer's input only
    longest: int

    @property
    def kept(self) -> int:
        """For a longest row, with all activations kept."""
        return self.fixed + self.longest * self.token

    @property
    def recomputed(self) -> int:
        """For a longest row, with only each layer's input kept: without this there is no training."""
        return self.fixed + self.longest * self.recomputed_token

    def recomputes(self, memory: int) -> bool:
        """Whether a device of ``memory`` bytes in all computes longest rows again, to save memory."""
        return self.kept > COMFORT * memory

    def kept_tokens(self, memory: int) -> int:
        """Of how many tokens a pass on such a device may be, with all activations kept."""
        return max(0, int(COMFORT * memory) - self.fixed) // self.token


def memory_need(
    size: ModelSize,
    competition: Competition,
    *,
    weight_bytes: int = 2,
    compute_bytes: int = 2,
    fused: bool | None = None,
) -> MemoryNeed:
    """An estimate of what PyTorch's allocator hands out; the driver's context is not in it.

    ``weight_bytes`` of a weight, ``compute_bytes`` of a number that a linear layer reads or makes; without
    them as on CUDA, for a model that ships in bfloat16. For each token and layer the backward pass keeps: the
    layer's and the feed-forward's input in float32; what the two norms make of them; rotated queries and
    keys, values, what attention makes of them, twice; gate and up. ``fused``: a card's kernels make the rest
    again (None: where products are in bfloat16); else there are also the activated gate and the product, and
    where there is dropout, a byte for each number a linear layer reads. The gradients of one layer's
    feed-forward come on top.
    """
    on_card = compute_bytes == 2
    kept_inner = 2 if (on_card if fused is None else fused) else 4
    hidden, inner, attention = size.hidden, size.intermediate, size.attention_width
    keys = size.key_value_heads * size.head_dim
    layer = 2 * _FLOAT32_BYTES * hidden + compute_bytes * (
        2 * hidden + 3 * attention + 2 * keys + kept_inner * inner
    )
    if competition.lora.dropout and kept_inner == 4:
        layer += sum(linear.inputs for linear in size.linears)
    gradients = compute_bytes * 4 * inner + _FLOAT32_BYTES * 2 * hidden
    logits = (
        HEAD_POSITIONS
        * (HEAD_BLOCK_ON_CARD if on_card else HEAD_BLOCK)
        * (_FLOAT32_BYTES + 2 * compute_bytes)
    )
    adapter = _ADAM * _FLOAT32_BYTES * size.adapter_parameters(competition.lora.rank)
    return MemoryNeed(
        fixed=weight_bytes * size.parameters + adapter + logits,
        token=layer * size.layers + gradients,
        recomputed_token=_FLOAT32_BYTES * hidden * size.layers + layer + gradients,
        longest=competition.training.context_length,
    )
