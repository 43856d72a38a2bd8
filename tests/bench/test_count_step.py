"""A GPU step's counted cost stays within the bounds that the fused kernels aim for."""

import pytest

from flockoff.competition import Competition
from flockoff.planner.memory import memory_need
from tests.bench.count_memory import SIZE
from tests.bench.count_step import count_step

pytestmark = pytest.mark.slow

# By the same count before dropout, the gate and the copies of adapters were fused: commit 15b86a9.
KERNELS_BEFORE, BYTES_BEFORE = 9760, 114e9


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_step_of_eight_rows_of_256_tokens_is_few_kernels_and_moves_little() -> None:
    kernels = count_step(256)
    assert len(kernels) <= 4500 < KERNELS_BEFORE / 2
    assert sum(one.read + one.written for one in kernels) <= 0.6 * BYTES_BEFORE


def test_activations_of_the_fused_path_take_four_fifths_of_the_memory_at_most() -> None:
    fused, plain = (memory_need(SIZE, Competition(), fused=each) for each in (True, False))
    assert fused.token <= 0.8 * plain.token
