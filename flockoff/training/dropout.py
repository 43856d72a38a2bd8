"""Counter-based dropout: whether a value is dropped depends only on its position, the same on every device.

Each value of an adapter's input is dropped, independently of all others, with probability ``round(65536 p) /
65536``; kept values are divided by the exact keep probability. The 16-bit words of a Philox4x64-10 generator
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), lowest bits first, decide over a row's
values token by token: value ``i`` of a row is decided by word ``i mod 16`` of the block with

    key      (seed, layer)
    counter  (1 + i // 16, the row's place in the optimizer step, the step, 0)

and dropped where that word is less than ``round(65536 p)``. So the outcome depends neither on the other rows
in the pass, nor on recomputation, nor on the device. On CPU NumPy generates the words; on CUDA ``kernels``
generates them in place and never stores them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch

_LEVELS = 2**16
_WORDS = 4  # 16-bit words in one of the generator's 64-bit outputs


def levels_dropped(rate: float) -> int:
    """How many of the 65,536 equally likely words drop a value."""
    return round(rate * _LEVELS)


def keep_probability(rate: float) -> float:
    return 1 - levels_dropped(rate) / _LEVELS


@dataclass(frozen=True, slots=True)
class RowDropout:
    """Dropout of one pass: rows of ``lengths`` tokens, starting with the step's row number ``first``."""

    rate: float
    seed: int
    step: int
    first: int
    lengths: Sequence[int]

    def kept(self, layer: int, width: int, device: torch.device) -> torch.Tensor:
        """(tokens, width) int8: 1 for kept, 0 for dropped.

        Always drawn on the host: not used on a GPU with fused kernels.
        """
        counts = [length * width for length in self.lengths]
        kept = np.empty(sum(counts), np.int8)
        key = np.array([self.seed, layer], np.uint64)
        dropped = levels_dropped(self.rate)
        for number, (end, count) in enumerate(zip(accumulate(counts), counts, strict=True)):
            # NumPy increments before it draws, so its first block has counter 1.
            counter = np.array([0, self.first + number, self.step, 0], np.uint64)
            words = np.random.Philox(counter=counter, key=key).random_raw(-(-count // _WORDS)).view(np.uint16)
            np.greater_equal(words[:count], dropped, out=kept[end - count : end].view(np.bool_))
        return torch.from_numpy(kept).view(-1, width).to(device)
