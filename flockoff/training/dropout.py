"""Dropout whose random numbers cost little, and do not depend on how rows are grouped into passes.

The law: each number of an adapter's input is dropped, independently of all others, with probability
``round(65536 p) / 65536``; what is kept is divided by the true probability of being kept. Which are dropped
is a function of the seed, the optimizer step, the row's place in it and the adapted layer: not of the other
rows in the pass, nor of whether the pass is computed again. On CPU the random words are NumPy's SFC64, on
CUDA they are torch's; 16 bits decide about one number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

_LEVELS = 2**16
_LOWEST = -(2**15)  # words are read as signed


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
        words = torch.empty((sum(self.lengths), width), dtype=torch.int16, device=device)
        begin = 0
        for number, length in enumerate(self.lengths):
            key = (self.seed, self.step, self.first + number, layer)
            words[begin : begin + length] = _words(key, length * width, device).view(length, width)
            begin += length
        highest_dropped = _LOWEST + levels_dropped(self.rate) - 1
        return words.clamp_(highest_dropped, highest_dropped + 1).sub_(highest_dropped).to(torch.int8)


def _words(key: tuple[int, int, int, int], count: int, device: torch.device) -> torch.Tensor:
    """``count`` random 16-bit words: the same for the same key on the same kind of device."""
    quads = -(-count // 4)
    if device.type == "cpu":
        return torch.from_numpy(np.random.SFC64(key).random_raw(quads).view(np.int16)[:count])
    (seed,) = np.random.SeedSequence(key).generate_state(1, np.uint64).tolist()
    generator = torch.Generator(device).manual_seed(seed & (2**63 - 1))
    drawn = torch.empty(quads, dtype=torch.int64, device=device)
    return drawn.random_(-(2**63), None, generator=generator).view(torch.int16)[:count]
