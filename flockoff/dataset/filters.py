"""A Bloom filter for numbers (Bloom, 1970)."""

import numpy as np
from numpy.typing import NDArray

_BITS = 22  # half a MiB: several times as fast as tables too large for the processor's cache
_MULTIPLIERS = (np.uint32(0x9E3779B1), np.uint32(0x85EBCA77))

Numbers = NDArray[np.uint32]


class Filter:
    """Passes all known numbers, and one in a hundred of the others if half a million are known."""

    def __init__(self, known: Numbers) -> None:
        self._tables = tuple(_marked(known, multiplier) for multiplier in _MULTIPLIERS)

    def among(self, numbers: Numbers) -> NDArray[np.intp]:
        """The indices of those of ``numbers``, (n,), that pass, in order."""
        first, second = zip(self._tables, _MULTIPLIERS, strict=True)
        places = np.flatnonzero(_are_in(*first, numbers))
        return places[_are_in(*second, numbers[places])]


def _marked(numbers: Numbers, multiplier: np.uint32) -> NDArray[np.uint8]:
    bits = np.zeros(1 << _BITS, dtype=np.bool_)
    bits[_marks_of(numbers, multiplier)] = True
    return np.packbits(bits, bitorder="little")


def _are_in(table: NDArray[np.uint8], multiplier: np.uint32, numbers: Numbers) -> NDArray[np.bool_]:
    marks = _marks_of(numbers, multiplier)
    bits = table[marks >> np.uint32(3)] >> (marks & np.uint32(7)).astype(np.uint8)
    are_in: NDArray[np.bool_] = (bits & np.uint8(1)).view(np.bool_)
    return are_in


def _marks_of(numbers: Numbers, multiplier: np.uint32) -> Numbers:
    return (numbers * multiplier) >> np.uint32(32 - _BITS)
