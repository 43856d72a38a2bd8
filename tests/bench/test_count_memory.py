"""Training's counted memory on a 12 GiB GPU matches the estimate and the requirement."""

import pytest

from flockoff.competition import Competition
from flockoff.planner.memory import memory_need
from flockoff.records import EncodedRow
from tests.bench.count_memory import GIB, SIZE, count_evaluation, count_training

pytestmark = pytest.mark.slow

TOKENS = 4096


@pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")
def test_two_rows_of_4096_tokens_fit_into_half_of_12_gib() -> None:
    competition = Competition()
    need = memory_need(SIZE, competition)
    kept = need.kept_tokens(12 * GIB)
    assert kept < TOKENS  # so that activations are computed again
    row = EncodedRow((0,) * TOKENS, (False,) * 2600 + (True,) * (TOKENS - 2600))
    counted = count_training(competition, [row, row], kept)
    assert counted <= need.fixed + TOKENS * need.recomputed_token <= 6 * GIB
    assert count_evaluation(competition, row) <= 6 * GIB
