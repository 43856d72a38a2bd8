import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flockoff.training.dropout import RowDropout, keep_probability
from tests.support.examples import examples

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
U64 = 2**64 - 1


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]:
    """Philox4x64-10 as its paper has it."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = c0 * 0xD2E7470EE14C6C93, c2 * 0xCA5A826395121157
        c0, c1, c2, c3 = (second >> 64) ^ c1 ^ k0, second & U64, (first >> 64) ^ c3 ^ k1, first & U64
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & U64, (k1 + 0xBB67AE8584CAA73B) & U64
    return [c0, c1, c2, c3]


def kept_by_the_law(
    rate: float, seed: int, step: int, row: int, layer: int, tokens: int, width: int
) -> list[int]:
    """Number by number, as the law is written down."""
    kept = []
    for number in range(tokens * width):
        block = philox((1 + number // 16, row, step, 0), (seed, layer))
        word = block[number % 16 // 4] >> 16 * (number % 4) & 0xFFFF
        kept.append(int(word >= round(65536 * rate)))
    return kept


def test_philox_gives_the_papers_known_answers() -> None:
    assert philox((0, 0, 0, 0), (0, 0))[0] == 0x16554D9ECA36314C
    ones = (U64, U64, U64, U64)
    assert philox(ones, (U64, U64))[0] == 0x87B092C3013FE90B


@settings(max_examples=examples(30))
@given(
    rate=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    step=st.integers(0, 10**6),
    first=st.integers(0, 7),
    layer=st.integers(0, 300),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    width=st.integers(1, 40),
)
def test_row_dropout_is_the_law_bit_for_bit(
    rate: float, seed: int, step: int, first: int, layer: int, lengths: list[int], width: int
) -> None:
    kept = RowDropout(rate, seed, step, first, lengths).kept(layer, width, CPU)
    expected = [
        one
        for number, length in enumerate(lengths)
        for one in kept_by_the_law(rate, seed, step, first + number, layer, length, width)
    ]
    assert kept.flatten().tolist() == expected


def test_row_dropout_keeps_with_the_probability_that_it_says() -> None:
    kept = RowDropout(0.1, 7, 0, 0, (4000,)).kept(0, 500, CPU)
    assert set(kept.flatten().tolist()) == {0, 1}
    assert keep_probability(0.1) == 1 - 6554 / 65536
    share, deviation = kept.float().mean().item(), (0.09 / kept.numel()) ** 0.5
    assert abs(share - keep_probability(0.1)) < 5 * deviation


def test_row_dropout_is_a_row_s_own_whatever_is_in_its_pass() -> None:
    together = RowDropout(0.5, 7, 3, 0, (5, 9, 4)).kept(2, 33, CPU)
    assert torch.equal(together[5:14], RowDropout(0.5, 7, 3, 1, (9,)).kept(2, 33, CPU))
    assert torch.equal(together[5:], RowDropout(0.5, 7, 3, 1, (9, 4)).kept(2, 33, CPU))
    others = [
        RowDropout(0.5, seed, step, first, (9,)).kept(layer, 33, CPU)
        for seed, step, first, layer in [(8, 3, 1, 2), (7, 4, 1, 2), (7, 3, 2, 2), (7, 3, 1, 3)]
    ]
    assert not any(torch.equal(together[5:14], other) for other in others)
