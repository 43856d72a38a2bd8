"""How much memory training needs, told before anything is loaded."""

from dataclasses import dataclass

from flockoff.competition import Training
from flockoff.planner.model import ModelSize

HEAD_CHUNK = 512  # positions whose logits are in memory at a time
COMFORT = 0.6  # of the device's memory: activations are kept, not computed again, where all fits into it
_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that training needs: with all activations kept, and with only each layer's input kept."""

    kept: int
    recomputed: int

    def recomputes(self, memory: int) -> bool:
        """Whether a device of ``memory`` bytes in all computes activations again, to save memory."""
        return self.kept > COMFORT * memory


def memory_need(size: ModelSize, training: Training) -> MemoryNeed:
    """An estimate for rows that fill the context, in float32.

    Per token and layer about 18 hidden and 8 intermediate vectors are kept for the backward pass, which
    reproduces the 46 GiB counted for Qwen2.5-1.5B at two rows of 4096 tokens in bfloat16.
    """
    tokens = training.batch_size * training.context_length
    layer = tokens * (18 * size.hidden + 8 * size.intermediate)
    inputs = tokens * size.hidden * size.layers
    fixed = size.parameters + 3 * HEAD_CHUNK * size.vocabulary
    return MemoryNeed(
        kept=_FLOAT32_BYTES * (fixed + layer * size.layers),
        recomputed=_FLOAT32_BYTES * (fixed + layer + inputs),
    )
