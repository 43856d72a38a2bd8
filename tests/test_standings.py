"""A subnet's standings from the chain alone."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.competition import ORIGINAL_COMPETITION_ID
from flockoff.records import SubnetSnapshot
from flockoff.standings import Standing, standings
from tests.support.subnets import model_id, snapshot_of
from tests.support.views import TERMS, view_of

HOTKEYS = ("ann", "bob", "carl", "dora")


def with_incentive(snapshot: SubnetSnapshot, **shares: float) -> SubnetSnapshot:
    neurons = tuple(
        replace(neuron, incentive=shares.get(neuron.hotkey, 0.0), last_update=snapshot.block - 50)
        for neuron in snapshot.neurons
    )
    return replace(snapshot, neurons=neurons)


def by_hotkey(found: tuple[Standing, ...]) -> dict[str, Standing]:
    return {each.hotkey: each for each in found}


def test_standings_rank_by_incentive_and_call_the_owners_part_burn() -> None:
    snapshot = with_incentive(
        snapshot_of(HOTKEYS, {"ann": (str(model_id("a")), 10), "bob": (str(model_id("b")), 20)}),
        owner=0.7,
        ann=0.1,
        bob=0.2,
    )
    found = standings(view_of(snapshot, {3: {0: 0.7, 2: 0.3}}, emission={3: 36.0}), "f127")
    assert [(each.rank, each.hotkey, each.burn) for each in found.miners] == [
        (1, "bob", False),
        (2, "ann", False),
        (None, "owner", True),
    ]
    assert found.worth.burned == pytest.approx(0.7)
    ann, owner = by_hotkey(found.miners)["ann"], by_hotkey(found.miners)["owner"]
    assert ann.alpha_per_day == pytest.approx(10 * found.worth.percent_alpha_per_day)
    assert ann.tao_per_day == pytest.approx(ann.alpha_per_day * TERMS.alpha_price)
    assert owner.alpha_per_day == 0.0
    # 36 alpha an epoch of 360 blocks, 7,200 blocks a day.
    assert {each.uid: each.alpha_per_day for each in found.validators}[3] == pytest.approx(720.0)
    assert ann.url == f"https://huggingface.co/datasets/ann/data/tree/{model_id('a').commit}"
    assert by_hotkey(found.miners)["bob"].weights == {3: 0.3}


def test_standings_say_what_one_percent_is_worth_a_day() -> None:
    worth = standings(view_of(snapshot_of(HOTKEYS)), "f127").worth
    assert worth.blocks_per_day == 7200
    assert worth.percent_alpha_per_day == pytest.approx(0.01 * 0.82 / 2 * 7200)
    assert worth.percent_tao_per_day == pytest.approx(0.01 * 0.82 / 2 * 7200 * TERMS.alpha_price)


def test_standings_queue_is_in_the_order_of_commitments_and_says_from_when_they_count() -> None:
    other = str(model_id("d", competition_id="g1"))
    commitments = {
        "ann": (str(model_id("a")), 950),
        "bob": (str(model_id("b")), 20),
        "carl": ("\x1b[2J<script>", 30),
        "dora": (other, 40),
    }
    found = standings(view_of(snapshot_of(HOTKEYS, commitments, block=1000)), ORIGINAL_COMPETITION_ID)
    assert [(each.hotkey, each.counts_from) for each in found.queue] == [("bob", 900), ("ann", 1260)]
    miners = by_hotkey(found.miners)
    assert (miners["carl"].problem or "").startswith("Malformed commitment") and miners["carl"].url is None
    assert miners["dora"].problem == "It is for competition g1, not f127."


def test_standings_compare_each_validator_with_the_others_by_stake() -> None:
    weights = {1: {3: 0.5, 4: 0.5}, 2: {3: 0.5, 4: 0.5}, 3: {0: 1.0}}
    found = standings(view_of(with_incentive(snapshot_of(HOTKEYS)), weights), "f127")
    agreement = {each.uid: (each.cosine, each.overlap) for each in found.validators}
    assert agreement[1] == agreement[2]
    cosine, overlap = agreement[1]
    # The others' mean is 0.25, 0.25 and 0.5 on the owner.
    assert cosine == pytest.approx(0.5 / (math.sqrt(0.5) * math.sqrt(1.5))) and overlap == pytest.approx(0.5)
    assert agreement[3] == (0.0, 0.0)
    assert {each.uid: each.burned for each in found.validators if each.targets} == {1: 0, 2: 0, 3: 1}
    assert {each.uid: each.age_blocks for each in found.validators} == {0: None, 1: 50, 2: 50, 3: 50, 4: None}


@given(
    st.dictionaries(
        st.integers(0, 4),
        st.dictionaries(st.integers(0, 9), st.floats(0, 1, allow_subnormal=False), max_size=6),
        max_size=5,
    )
)
def test_standings_agreement_is_between_0_and_1_whatever_the_weights(
    weights: dict[int, dict[int, float]],
) -> None:
    for each in standings(view_of(snapshot_of(HOTKEYS), weights), "f127").validators:
        for value in (each.cosine, each.overlap):
            assert value is None or 0 <= value <= 1 + 1e-9


def test_standings_of_an_empty_subnet_are_empty() -> None:
    bare = replace(TERMS, alpha_per_block=0.0, tempo=0)
    found = standings(view_of(snapshot_of((), owner=False), terms=bare), "f127")
    assert (found.miners, found.validators, found.queue) == ((), (), ())
    assert found.worth.percent_alpha_per_day == 0.0
