import math
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.dataset import (
    Claim,
    duplicate_fault,
    owner_of,
    owners,
    same_loss_copies,
    same_loss_fault,
    same_loss_groups,
)
from flockoff.errors import Reason
from tests.support.dataset_texts import EXAMPLES

TOLERANCE = 1e-9


def claim(hotkey: str, block: int, order: int = 0, content: str = "c") -> Claim:
    return Claim(content, hotkey, block, order)


def test_owner_of_lowest_block_then_lowest_order_owns() -> None:
    claims = [claim("late", 9, 0), claim("second", 5, 7), claim("first", 5, 3)]
    assert {owner_of(order).hotkey for order in permutations(claims)} == {"first"}


def test_owner_of_owner_that_commits_again_keeps_its_first_claim() -> None:
    assert owner_of([claim("a", 9), claim("b", 7), claim("a", 5)]) == claim("a", 5)


def test_owners_each_content_has_its_own() -> None:
    claims = [claim("a", 5), claim("b", 4), claim("b", 6, content="d"), claim("a", 7, content="d")]
    assert owners(claims) == {"c": claim("b", 4), "d": claim("b", 6, content="d")}
    assert owners([]) == {}


def test_same_loss_copies_a_loss_that_is_the_base_models_is_no_evidence() -> None:
    losses = {"a": 2.0, "b": 2.0 * (1 + 1e-10), "c": 1.5, "d": 1.5}
    claims = {hotkey: claim(hotkey, block) for block, hotkey in enumerate(losses)}
    assert same_loss_copies(losses, claims, TOLERANCE) == {"b": claims["a"], "d": claims["c"]}
    assert same_loss_copies(losses, claims, TOLERANCE, base_loss=2.0) == {"d": claims["c"]}


def test_same_loss_copies_of_a_claim_that_has_lapsed_the_next_owner_is_the_first() -> None:
    claims = {hotkey: claim(hotkey, block) for block, hotkey in enumerate("abcd")}
    losses = dict.fromkeys("abcd", 2.0)
    assert same_loss_copies(losses, claims, TOLERANCE, lapsed=["a", "c"]) == dict.fromkeys("cd", claims["b"])
    all_lapsed = same_loss_copies(losses, claims, TOLERANCE, lapsed="abcd")
    assert all_lapsed == dict.fromkeys("bcd", claims["a"])


def test_duplicate_fault_names_whose_and_since_when() -> None:
    fault = duplicate_fault(claim("5Owner", 1234))
    assert fault.reason is Reason.DUPLICATE
    assert "5Owner" in fault.message
    assert "1234" in fault.message
    assert fault.remedy


def test_same_loss_groups_within_the_tolerance_are_together() -> None:
    losses = {"a": 2.0, "b": 2.0 + 1.9e-9, "c": 2.0 - 3e-9, "d": 1.5, "e": 1.5, "f": 9.0}
    assert same_loss_groups(losses, TOLERANCE) == [("d", "e"), ("a", "b")]


def test_same_loss_groups_chain_is_one_group() -> None:
    losses = {"a": 1.0, "b": 1.0 + 0.9e-9, "c": 1.0 + 1.8e-9, "d": 1.0 + 3e-9}
    assert same_loss_groups(losses, TOLERANCE) == [("a", "b", "c")]


def test_same_loss_groups_without_tolerance_takes_equal_losses_only() -> None:
    assert same_loss_groups({"a": 0.0, "b": 0.0, "c": 5e-324}, 0.0) == [("a", "b")]
    assert same_loss_groups({}, TOLERANCE) == []


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_same_loss_groups_loss_that_is_not_finite_is_refused(loss: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        same_loss_groups({"a": 1.0, "b": loss}, TOLERANCE)


@EXAMPLES
@given(st.dictionaries(st.text("abc", min_size=1), st.floats(0, 10), max_size=8))
def test_same_loss_groups_order_of_miners_does_not_matter(losses: dict[str, float]) -> None:
    backwards = dict(reversed(losses.items()))
    groups = same_loss_groups(losses, TOLERANCE)
    assert same_loss_groups(backwards, TOLERANCE) == groups
    grouped = [hotkey for group in groups for hotkey in group]
    assert len(grouped) == len(set(grouped))
    assert all(len(group) > 1 for group in groups)


def test_same_loss_copies_all_but_the_earliest_committer() -> None:
    losses = {"a": 2.0, "b": 2.0, "c": 2.0, "d": 3.0}
    claims = {
        "a": claim("a", 9, content="1"),
        "b": claim("b", 4, 2, content="2"),
        "c": claim("c", 4, 1, content="3"),
        "d": claim("d", 1, content="4"),
    }
    assert same_loss_copies(losses, claims, TOLERANCE) == {"a": claims["c"], "b": claims["c"]}


def test_same_loss_fault_names_whose_and_since_when() -> None:
    fault = same_loss_fault(claim("5Owner", 1234))
    assert fault.reason is Reason.SAME_LOSS
    assert "5Owner" in fault.message
    assert "1234" in fault.message
