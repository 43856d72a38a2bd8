"""A filter lets everything known pass, and little else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flockoff.dataset.filters import Filter
from tests.support.dataset_texts import EXAMPLES

NUMBERS = st.lists(st.integers(0, (1 << 32) - 1), max_size=30)


@EXAMPLES
@given(NUMBERS, NUMBERS)
def test_filter_what_is_known_passes_in_order(known: list[int], others: list[int]) -> None:
    numbers = np.array([*others, *known, *others], dtype=np.uint32)
    passed = Filter(np.array(known, dtype=np.uint32)).among(numbers)
    assert np.array_equal(passed, np.unique(passed))
    assert {*np.flatnonzero(np.isin(numbers, known)).tolist()} <= {*passed.tolist()}


def test_filter_of_half_a_million_stops_nearly_all_others() -> None:
    numbers = np.random.default_rng(0).integers(0, 1 << 32, size=(2, 500_000), dtype=np.uint32)
    assert len(Filter(numbers[0]).among(numbers[1])) < 0.02 * numbers.shape[1]
