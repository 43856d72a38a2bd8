"""Yuma consensus against a runtime's epochs, hand-computed ones and its defining properties."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flockoff.yuma import Floats, YumaInputs, YumaResult, as_u16, run_epoch

EXECUTED = json.loads((Path(__file__).parent / "support" / "epochs_spec293.json").read_text())["epochs"]
U16_MAX = 65535


def epoch_inputs(weights: Sequence[Sequence[float]], stake: Sequence[float], **changes: object) -> YumaInputs:
    """An epoch at block 1000 under the original Yuma, the last one at 640.

    Everyone registered at 1 and set weights at 900; who has stake has a permit.
    """
    n = len(stake)
    inputs = YumaInputs(
        weights=np.array(weights, dtype=np.float64),
        stake=np.array(stake, dtype=np.float64),
        last_update=np.full(n, 900),
        registered_at=np.full(n, 1),
        active=np.ones(n, dtype=bool),
        validator_permit=np.array(stake) > 0,
        bonds=np.zeros((n, n)),
        kappa=0.5,
        bonds_penalty=1.0,
        bonds_moving_average=0.9,
        max_validators=64,
        last_step=640,
        yuma3=False,
    )
    return replace(inputs, **changes)  # type: ignore[arg-type]


# Validators 0, 1, 2 hold 40, 35 and 25 of the stake; 3 and 4 are miners. Validator 2 backs the wrong miner.
WEIGHTS = [
    [0, 0, 0, 6, 2],  # .75 .25
    [0, 0, 0, 1, 1],  # .5  .5
    [0, 0, 0, 0, 9],  # 0   1
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0],
]
STAKE = [40, 35, 25, 0, 0]


def test_run_epoch_three_validators_gives_the_hand_computed_epoch() -> None:
    result = run_epoch(epoch_inputs(WEIGHTS, STAKE))

    # Miner 3: .75 is backed by .40, .5 by .75 of the stake. Miner 4: 1 by .25, .5 by .60.
    np.testing.assert_allclose(result.consensus, [0, 0, 0, 0.5, 0.5])
    # Clipped rows: (.5 .25), (.5 .5), (0 .5).
    np.testing.assert_allclose(result.validator_trust, [0.75, 1.0, 0.5, 0, 0])
    # Ranks: .40*.5 + .35*.5 = .375 and .40*.25 + .35*.5 + .25*.5 = .4.
    np.testing.assert_allclose(result.incentive, [0, 0, 0, 0.375 / 0.775, 0.4 / 0.775])
    np.testing.assert_allclose(result.rank, result.incentive)
    # Before clipping: .40*.75 + .35*.5 = .475 and .40*.25 + .35*.5 + .25 = .525.
    np.testing.assert_allclose(result.trust, [0, 0, 0, 0.375 / 0.475, 0.4 / 0.525])
    # Bonds on 3: (.2 .175 0)/.375, on 4: (.1 .175 .125)/.4; times incentive (.375 .4)/.775.
    np.testing.assert_allclose(result.dividends, np.array([0.3, 0.35, 0.125, 0, 0]) / 0.775)
    np.testing.assert_allclose(result.emission_share, (result.incentive + result.dividends) / 2)
    np.testing.assert_array_equal(result.validator_permit, [True, True, True, False, False])
    # Stored with each column's largest at 1: .2 -> 1, .175 -> .875; .175 -> 1, .1 -> 4/7, .125 -> 5/7.
    np.testing.assert_allclose(result.bonds[:3, 3:], [[1, 4 / 7], [0.875, 1], [0, 5 / 7]])


def test_run_epoch_without_bonds_penalty_bonds_the_unclipped_weights() -> None:
    result = run_epoch(epoch_inputs(WEIGHTS, STAKE, bonds_penalty=0.0))

    on_3 = np.array([0.4 * 0.75, 0.35 * 0.5, 0]) / 0.475
    on_4 = np.array([0.4 * 0.25, 0.35 * 0.5, 0.25]) / 0.525
    np.testing.assert_allclose(result.dividends[:3], (on_3 * 0.375 + on_4 * 0.4) / 0.775)


def test_run_epoch_old_bonds_move_a_tenth_of_the_way() -> None:
    bonds = np.zeros((5, 5))
    bonds[0, 3] = 1.0

    result = run_epoch(epoch_inputs(WEIGHTS, STAKE, bonds=bonds))

    # Column 3: .9 * (1 0 0) + .1 * (.2 .175 0)/.375.
    expected = 0.9 * np.array([1, 0, 0]) + 0.1 * np.array([0.2, 0.175, 0]) / 0.375
    np.testing.assert_allclose(result.bonds[:3, 3], expected / expected[0])


def test_run_epoch_bonds_on_a_newly_registered_uid_are_forgotten() -> None:
    bonds = np.zeros((5, 5))
    bonds[0, 3] = 1.0

    def bonds_on(registered: int, *, yuma3: bool) -> Floats:
        registered_at = np.array([1, 1, 1, registered, 1])
        changes = {"bonds": bonds, "registered_at": registered_at, "yuma3": yuma3}
        return run_epoch(epoch_inputs(WEIGHTS, STAKE, **changes)).bonds[:3, 3]

    np.testing.assert_allclose(bonds_on(641, yuma3=False), [1, 0.875, 0])
    np.testing.assert_allclose(bonds_on(641, yuma3=True), [0.05, 0.05, 0])
    kept = 0.9 * np.array([1, 0, 0]) + 0.1 * np.array([0.2, 0.175, 0]) / 0.375
    np.testing.assert_allclose(bonds_on(640, yuma3=False), kept / kept[0])  # in the last epoch's own block
    np.testing.assert_allclose(bonds_on(640, yuma3=True), [0.95, 0.05, 0])


def test_run_epoch_weights_older_than_the_targets_registration_do_not_count() -> None:
    registered_at = np.array([1, 1, 1, 900, 1])  # miner 3 came in the block of the last update

    result = run_epoch(epoch_inputs(WEIGHTS, STAKE, registered_at=registered_at))

    np.testing.assert_allclose(result.incentive, [0, 0, 0, 0, 1])
    np.testing.assert_allclose(result.validator_trust, [1, 1, 1, 0, 0])


def test_run_epoch_weights_sealed_before_the_targets_registration_do_not_count() -> None:
    """What is on its way was made for the one before, and so is what stands until it arrives."""
    registered_at = np.array([1, 1, 1, 850, 1])
    never = 2**62

    def incentive(first_commit: int) -> Floats:
        committed = np.array([first_commit, first_commit, never, never, never])
        return run_epoch(
            epoch_inputs(WEIGHTS, STAKE, registered_at=registered_at, committed=committed)
        ).incentive

    np.testing.assert_allclose(incentive(849), [0, 0, 0, 0, 1])
    np.testing.assert_allclose(incentive(850), run_epoch(epoch_inputs(WEIGHTS, STAKE)).incentive)


def test_run_epoch_yuma3_bonds_are_of_weights_alone_and_stake_counts_in_the_dividends() -> None:
    bonds = np.zeros((5, 5))
    bonds[0, 3] = 0.5

    result = run_epoch(epoch_inputs(WEIGHTS, STAKE, bonds=bonds, yuma3=True))

    # .9 * .5 + .1 * .5 = .5 and .1 * .5; clipped rows (.5 .25), (.5 .5), (0 .5), as nothing is unclipped.
    np.testing.assert_allclose(result.bonds[:3, 3:], [[0.5, 0.025], [0.05, 0.05], [0, 0.05]])
    on_3 = np.array([0.5, 0.05, 0]) / 0.55
    on_4 = np.array([0.025, 0.05, 0.05]) / 0.125
    paid = np.array([0.4, 0.35, 0.25]) * (on_3 * 0.375 + on_4 * 0.4)
    np.testing.assert_allclose(result.dividends[:3], paid / paid.sum())
    original = run_epoch(epoch_inputs(WEIGHTS, STAKE, bonds=bonds))
    np.testing.assert_array_equal(result.incentive, original.incentive)
    np.testing.assert_array_equal(result.consensus, original.consensus)


@pytest.mark.parametrize("mask", ["active", "validator_permit"])
def test_run_epoch_masked_validator_has_no_say_and_no_dividends(mask: str) -> None:
    result = run_epoch(epoch_inputs(WEIGHTS, STAKE, **{mask: np.array([False, True, True, True, True])}))

    # Left: .35 and .25, that is 7/12 and 5/12: validator 1 alone is the majority.
    np.testing.assert_allclose(result.consensus, [0, 0, 0, 0.5, 0.5])
    np.testing.assert_allclose(result.incentive[3:], np.array([7 / 24, 0.5]) / (7 / 24 + 0.5))
    assert result.dividends[0] == 0
    assert result.validator_permit[0]  # by stake, for the next epoch


def test_run_epoch_only_the_owners_weight_on_itself_counts() -> None:
    on_itself = [[1.0, 0.0], [0.0, 0.0]]

    masked = run_epoch(epoch_inputs(on_itself, [1, 0]))
    burned = run_epoch(epoch_inputs(on_itself, [1, 0], owner_uid=0))

    assert not masked.incentive.any()
    np.testing.assert_allclose(burned.incentive, [1, 0])


def test_run_epoch_without_weights_emission_follows_active_stake() -> None:
    nothing = [[0.0] * 3 for _ in range(3)]

    result = run_epoch(epoch_inputs(nothing, [3, 1, 0], active=np.array([True, False, True])))

    np.testing.assert_allclose(result.emission_share, [1, 0, 0])
    assert not result.incentive.any()
    assert not result.dividends.any()


def test_run_epoch_without_active_stake_emission_follows_stake() -> None:
    result = run_epoch(epoch_inputs(WEIGHTS, STAKE, active=np.zeros(5, dtype=bool)))

    np.testing.assert_allclose(result.emission_share, [0.4, 0.35, 0.25, 0, 0])
    assert not result.consensus.any()


def test_run_epoch_permits_go_to_the_top_stakes_and_the_rest_lose_their_bonds() -> None:
    result = run_epoch(epoch_inputs(WEIGHTS, [40, 25, 25, 0, 0], max_validators=2))

    np.testing.assert_array_equal(result.validator_permit, [True, False, True, False, False])
    assert not result.bonds[1].any()


def test_run_epoch_owner_has_a_permit_whatever_its_stake_and_no_threshold() -> None:
    inputs = epoch_inputs(WEIGHTS, [40, 35, 25, 0, 10], stake_threshold=30.0)

    np.testing.assert_array_equal(run_epoch(inputs).validator_permit, [True, True, False, False, False])
    for owner in (3, 4):  # without any stake; with less than the threshold
        permit = run_epoch(replace(inputs, owner_uid=owner)).validator_permit
        np.testing.assert_array_equal(np.flatnonzero(permit), [0, 1, owner])
    weighs = replace(inputs, owner_uid=2, validator_permit=np.array([True, True, True, False, False]))
    assert run_epoch(weighs).validator_trust[2] > 0
    np.testing.assert_allclose(run_epoch(weighs).dividends, run_epoch(epoch_inputs(WEIGHTS, STAKE)).dividends)


def test_as_u16_cuts_off_what_the_chain_cuts_off() -> None:
    shares = np.array([0.0, 1.0, 1.0 - 1e-16, 126.99 / U16_MAX, 127 / U16_MAX, 0.5, 1.5, -0.5])

    assert as_u16(shares).tolist() == [0, 65535, 65535, 126, 127, 32767, 65535, 0]


# --- as a runtime computed them ----------------------------------------------------------------------------


@pytest.mark.parametrize("yuma3", [False, True], ids=["original", "yuma3"])
@pytest.mark.parametrize("number", range(len(EXECUTED)))
def test_run_epoch_agrees_with_an_executed_runtime(number: int, yuma3: bool) -> None:
    epoch = EXECUTED[number]
    expected = {**epoch["yuma"], **(epoch["yuma3"] if yuma3 else {})}

    result = run_epoch(executed_inputs(epoch, yuma3=yuma3))

    for name, vector in {
        "Consensus": result.consensus,
        "Incentive": result.incentive,
        "Dividends": result.dividends,
        "ValidatorTrust": result.validator_trust,
    }.items():
        np.testing.assert_allclose(as_u16(vector), expected[name], atol=1, rtol=0, err_msg=name)
    permitted = np.array(expected["ValidatorPermit"])
    always = np.array([uid == epoch["owner"] for uid in range(epoch["n"])])  # since a later spec
    np.testing.assert_array_equal(result.validator_permit, permitted | always)
    bonds = _matrix([row.items() for row in expected["Bonds"]], epoch["n"])
    np.testing.assert_allclose(as_u16(result.bonds)[permitted], bonds[permitted], atol=1, rtol=0)
    if not yuma3:
        emission = result.emission_share * epoch["pend"]
        np.testing.assert_allclose(emission, expected["Emission"], atol=1e-8 * epoch["pend"])


def executed_inputs(epoch: Mapping[str, Any], *, yuma3: bool) -> YumaInputs:
    updates = np.array(epoch["upd"])
    return YumaInputs(
        weights=_matrix(epoch["w"], epoch["n"]),
        stake=np.array(epoch["stake"], dtype=np.float64),
        last_update=updates,
        registered_at=np.array(epoch["reg"]),
        active=updates + epoch["activity_cutoff"] >= epoch["block"],
        validator_permit=np.array(epoch["permit"]),
        bonds=_matrix(epoch["b"], epoch["n"]) / U16_MAX,
        kappa=epoch["kappa"] / U16_MAX,
        bonds_penalty=epoch["pen"] / U16_MAX,
        bonds_moving_average=epoch["bma"] / 10**6,
        max_validators=epoch["maxv"],
        last_step=epoch["block"] - epoch["tempo"] - 1,  # an epoch was a block longer than its tempo
        stake_threshold=epoch["thr"],
        owner_uid=epoch["owner"],
        yuma3=yuma3,
    )


def _matrix(rows: Sequence[Any], n: int) -> Floats:
    matrix = np.zeros((n, n))
    for uid, row in enumerate(rows):
        for dest, value in row:
            matrix[uid, int(dest)] = value
    return matrix


# --- properties ------------------------------------------------------------------------------------------


@st.composite
def subnets(draw: st.DrawFn) -> YumaInputs:
    """Subnets of any shape; weights and stakes on coarse grids, so that ties are common."""
    n = draw(st.integers(1, 7))
    grid = st.integers(0, 4).map(float)
    flags = hnp.arrays(bool, n)
    blocks = hnp.arrays(np.int64, n, elements=st.integers(1, 1000))
    return YumaInputs(
        weights=draw(hnp.arrays(np.float64, (n, n), elements=grid)),
        stake=draw(hnp.arrays(np.float64, n, elements=grid)),
        last_update=draw(blocks),
        registered_at=draw(blocks),
        active=draw(flags),
        validator_permit=draw(flags),
        bonds=draw(hnp.arrays(np.float64, (n, n), elements=grid.map(lambda value: value / 4))),
        kappa=draw(st.sampled_from([0.25, 0.5, 32767 / 65535, 1.0])),
        bonds_penalty=draw(st.sampled_from([0.0, 0.5, 1.0])),
        bonds_moving_average=draw(st.sampled_from([0.0, 0.9])),
        max_validators=draw(st.integers(0, 8)),
        last_step=draw(st.integers(0, 1000)),
        stake_threshold=draw(st.sampled_from([0.0, 2.0])),
        owner_uid=draw(st.none() | st.integers(0, n - 1)),
        committed=draw(st.none() | blocks),
        yuma3=draw(st.booleans()),
    )


def vectors(result: YumaResult) -> list[Floats]:
    return [
        result.consensus,
        result.incentive,
        result.dividends,
        result.trust,
        result.validator_trust,
        result.rank,
        result.emission_share,
    ]


@pytest.mark.slow
@given(subnets())
def test_run_epoch_any_subnet_stays_in_range_and_sums_to_one_or_nothing(inputs: YumaInputs) -> None:
    result = run_epoch(inputs)

    for vector in [*vectors(result), result.bonds]:
        assert np.isfinite(vector).all()
        assert (vector >= 0).all()
        assert (vector <= 1 + 1e-12).all()
    for share in (result.incentive, result.dividends, result.emission_share):
        assert share.sum() == pytest.approx(1) or not share.any()
    exempt = np.array([uid == inputs.owner_uid for uid in range(len(inputs.stake))])
    counting = (inputs.stake > 0) & ((inputs.stake >= inputs.stake_threshold) | exempt)
    assert result.emission_share.any() == counting.any()
    assert result.validator_permit[exempt].all()
    most = min(inputs.max_validators, int(counting.sum()))
    assert most <= result.validator_permit.sum() <= most + 1
    assert counting[result.validator_permit & ~exempt].all()


@pytest.mark.slow
@given(subnets(), st.randoms(use_true_random=False))
def test_run_epoch_renumbered_uids_get_the_same_values(inputs: YumaInputs, random: Random) -> None:
    n = len(inputs.stake)
    order = np.array(random.sample(range(n), n))
    owner = None if inputs.owner_uid is None else int(np.flatnonzero(order == inputs.owner_uid)[0])
    committed = None if inputs.committed is None else inputs.committed[order]
    renumbered = replace(
        inputs,
        committed=committed,
        weights=inputs.weights[np.ix_(order, order)],
        bonds=inputs.bonds[np.ix_(order, order)],
        owner_uid=owner,
        **{
            name: getattr(inputs, name)[order]
            for name in ("stake", "last_update", "registered_at", "active", "validator_permit")
        },
    )

    for before, after in zip(vectors(run_epoch(inputs)), vectors(run_epoch(renumbered)), strict=True):
        np.testing.assert_allclose(after, before[order], atol=1e-12)


@given(honest=st.floats(0.51, 0.99), outlier=st.floats(0.0, 1.0))
def test_run_epoch_honest_majority_clips_an_outlier(honest: float, outlier: float) -> None:
    """Whatever a minority gives its favourite, the favourite gets no more than the majority's view of it."""
    weights: list[list[float]] = [
        [0, 0, 0.9, 0.1],
        [0, 0, 1 - outlier, outlier],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]

    result = run_epoch(epoch_inputs(weights, [honest, 1 - honest, 0, 0]))

    np.testing.assert_allclose(result.consensus, [0, 0, 0.9, 0.1])
    assert result.validator_trust[0] == pytest.approx(1)
    assert result.validator_trust[1] == pytest.approx(min(1 - outlier, 0.9) + min(outlier, 0.1))
    if outlier >= 0.1:
        assert result.incentive[3] <= 0.1 / (0.1 + honest * 0.9) + 1e-9
        assert result.dividends[1] <= 1 - honest + 1e-9
