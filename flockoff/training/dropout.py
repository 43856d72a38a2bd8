"""Dropout whose random numbers cost little, and do not depend on how rows are grouped into passes.

The law: each number of an adapter's input is dropped, independently of all others, with probability
``round(65536 p) / 65536``; what is kept is divided by the true probability of being kept. Which are dropped
is a function of the seed, the optimizer step, the row's place in it and the adapted layer: not of the other
rows in the pass, nor of whether the pass is computed again. On CPU the random words are NumPy's SFC64, on
CUDA they are torch's; 16 bits decide about one number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np
import torch

_LEVELS = 2**16
_LOWEST = -(2**15)  # words are read as signed
_Key = tuple[int, int, int, int]


def levels_dropped(rate: float) -> int:
    """How many of the 65,536 equally likely words drop a number."""
    return round(rate * _LEVELS)


def keep_probability(rate: float) -> float:
    return 1 - levels_dropped(rate) / _LEVELS


@dataclass(frozen=True, slots=True)
class RowDropout:
    """What is dropped in one pass: rows of ``lengths`` tokens, of which the first is the step's ``first``."""

    rate: float
    seed: int
    step: int
    first: int
    lengths: Sequence[int]

    def kept(self, layer: int, width: int, device: torch.device) -> torch.Tensor:
        """(tokens, width) of int8: 1 where the number is kept, 0 where it is dropped."""
        keys = [(self.seed, self.step, self.first + number, layer) for number in range(len(self.lengths))]
        counts = [length * width for length in self.lengths]
        highest_dropped = _LOWEST + levels_dropped(self.rate) - 1
        draw = _draw_on_cpu if device.type == "cpu" else partial(_draw_on_cuda, device)
        return draw(keys, counts, highest_dropped).view(-1, width)


def _draw_on_cpu(keys: Sequence[_Key], counts: Sequence[int], highest_dropped: int) -> torch.Tensor:
    """Which of ``counts[i]`` random 16-bit words for each ``keys[i]``, one behind the other, are higher."""
    kept = np.empty(sum(counts), np.int8)
    for key, end, count in zip(keys, accumulate(counts), counts, strict=True):
        drawn = np.random.SFC64(key).random_raw(-(-count // 4)).view(np.int16)
        np.greater(drawn[:count], highest_dropped, out=kept[end - count : end].view(np.bool_))
    return torch.from_numpy(kept)


def _draw_on_cuda(
    device: torch.device, keys: Sequence[_Key], counts: Sequence[int], highest_dropped: int
) -> torch.Tensor:
    """As ``_draw_on_cpu``, with other words."""
    words = torch.empty(sum(counts), dtype=torch.int16, device=device)
    for key, end, count in zip(keys, accumulate(counts), counts, strict=True):
        (seed,) = np.random.SeedSequence(key).generate_state(1, np.uint64).tolist()
        generator = torch.Generator(device).manual_seed(seed & (2**63 - 1))
        quads = torch.empty(-(-count // 4), dtype=torch.int64, device=device)
        drawn = quads.random_(-(2**63), None, generator=generator).view(torch.int16)
        words[end - count : end] = drawn[:count]
    return (words > highest_dropped).to(torch.int8)
