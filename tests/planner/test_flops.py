from fractions import Fraction

import pytest

from flockoff.competition import Competition
from flockoff.planner.flops import (
    Load,
    backward_flops,
    evaluation_flops,
    forward_flops,
    training_flops,
)
from flockoff.planner.model import KNOWN_SIZES, ModelSize

TINY = ModelSize(
    vocabulary=10,
    hidden=4,
    intermediate=6,
    layers=2,
    heads=2,
    key_value_heads=1,
    head_dim=2,
    tied=True,
    attention_bias=False,
)
ROW = Load(rows=1, tokens=3, targets=2, pairs=6)


def test_forward_flops_of_a_tiny_model_are_those_counted_by_hand() -> None:
    weights = 4 * 4 + 4 * 2 + 4 * 2 + 4 * 4 + 4 * 6 + 4 * 6 + 6 * 4
    ends = 8 + 6 + 6 + 8 + 10 + 10 + 10
    layer = 3 * 2 * weights + 3 * 2 * ends + 6 * (2 * 4 + 2 * 4)  # linear, rank 1, scores and values
    assert forward_flops(TINY, 1, ROW) == 2 * layer + 2 * (2 * 4 * 10) == 2488


def test_backward_flops_of_a_tiny_model_are_those_counted_by_hand() -> None:
    weights, ends = 120, 58
    layer = 3 * 2 * weights + 3 * 4 * ends + 6 * 2 * (2 * 4 + 2 * 4)
    unused = 3 * (2 * (16 + 8 + 8) + 2 * 3 * 4)  # of the first layer's queries, keys and values
    assert backward_flops(TINY, 1, ROW) == 2 * layer + 2 * (2 * 4 * 10) - unused == 3112


def test_training_flops_are_all_passes_and_evaluation_is_one_forward() -> None:
    rules = Competition()
    rank, passes = rules.lora.rank, rules.training.epochs
    both = forward_flops(TINY, rank, ROW) + backward_flops(TINY, rank, ROW)
    assert training_flops(TINY, rules, ROW) == passes * both
    assert evaluation_flops(TINY, rules, ROW) == forward_flops(TINY, rank, ROW)


def test_load_counts_tokens_targets_and_pairs_of_rows() -> None:
    assert Load.of([(3, 2), (1, 1)]) == Load(rows=2, tokens=4, targets=3, pairs=7)
    assert Load.uniform(2, 3, 0.5) == Load(rows=2, tokens=6, targets=3, pairs=12)


def test_training_at_the_promised_capacity_is_1e18_operations() -> None:
    """32 miners of 10,000 rows of 256 tokens: two passes of 4 operations a weight and token, and the rest."""
    size = KNOWN_SIZES["Qwen/Qwen2.5-1.5B-Instruct"]
    flops = 32 * training_flops(size, Competition(), Load.uniform(10_000, 256, 0.5))
    assert float(Fraction(flops, 10**18)) == pytest.approx(1.0, rel=0.05)
