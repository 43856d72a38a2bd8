"""Training's memory, estimated before anything is loaded."""

from dataclasses import dataclass

from flockoff.competition import Competition
from flockoff.planner.model import ModelSize

HEAD_POSITIONS = 2048  # positions whose logits are in memory at a time
HEAD_BLOCK = 4096  # vocabulary rows per block; more would not stay in the cache
HEAD_BLOCK_ON_CARD = 16384  # for bfloat16 training, where a small product leaves the GPU idle
COMFORT = 0.8  # of the device's memory: below it, activations are kept, not recomputed
_FLOAT32_BYTES = 4
_ADAM = 4  # values per adapter parameter: itself, its gradient and two moments


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that training needs, and the tokens of the longest row."""

    fixed: int  # weights, adapter, optimizer state, one block of logits
    token: int  # per token, with all activations kept
    recomputed_token: int  # per token, with only each layer's input kept
    longest: int

    @property
    def kept(self) -> int:
        """For a longest row, with all activations kept."""
        return self.fixed + self.longest * self.token

    @property
    def recomputed(self) -> int:
        """For a longest row, with only each layer's input kept: the minimum for training."""
        return self.fixed + self.longest * self.recomputed_token

    def recomputes(self, memory: int) -> bool:
        """Whether a device of ``memory`` bytes must use gradient checkpointing for the longest rows."""
        return self.kept > COMFORT * memory

    def kept_tokens(self, memory: int) -> int:
        """The most tokens per pass on such a device, with all activations kept."""
        return max(0, int(COMFORT * memory) - self.fixed) // self.token


def memory_need(
    size: ModelSize,
    competition: Competition,
    *,
    weight_bytes: int = 2,
    compute_bytes: int = 2,
    fused: bool | None = None,
) -> MemoryNeed:
    """An estimate of what PyTorch's allocator hands out, without the driver's context.

    ``weight_bytes``: per weight; ``compute_bytes``: per input or output value of a linear layer; by default
    as on CUDA for a model in bfloat16. Per token and layer the backward pass keeps: the layer's and the
    feed-forward block's input in float32; both norms' outputs; rotated queries and keys, values, attention's
    output, twice; gate and up. With ``fused`` the GPU's kernels recompute the rest (None: if products are in
    bfloat16); otherwise add the activated gate and the product, and with dropout a byte per input value of a
    linear layer. The gradients of one feed-forward block come on top.
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
