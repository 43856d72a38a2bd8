import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.errors import MinerFault, Reason
from flockoff.records import (
    MAX_COMMITMENT_BYTES,
    ChainWeights,
    ModelId,
    Neuron,
    SubnetSnapshot,
    is_repo_id,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_model_id_text_round_trips() -> None:
    model_id = ModelId.parse(f"yourusername/my-dataset:f127:{COMMIT}")
    assert model_id == ModelId("yourusername/my-dataset", "f127", COMMIT)
    assert ModelId.parse(str(model_id)) == model_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a/b:f127",
        f"a/b:f127:{COMMIT}:more",
        "a/b:f127:main",
        f"a/b:f127:{COMMIT.upper()}",
        f"a/b:f127:{COMMIT[:-1]}",
        f"noslash:f127:{COMMIT}",
        f"../../etc:f127:{COMMIT}",
        f"a/b c:f127:{COMMIT}",
        f"a/b::{COMMIT}",
        f"a/b:f127:{COMMIT}\n",
        f"{'a' * 60}/{'b' * 30}:f127:{COMMIT}",
    ],
)
def test_model_id_malformed_is_the_miners_fault(text: str) -> None:
    with pytest.raises(MinerFault) as caught:
        ModelId.parse(text)
    assert caught.value.reason is Reason.COMMITMENT_MALFORMED


def test_model_id_of_128_bytes_fits_and_of_129_does_not() -> None:
    longest = MAX_COMMITMENT_BYTES - len(f"a/:f127:{COMMIT}")
    assert len(str(ModelId("a/" + "b" * longest, "f127", COMMIT)).encode()) == MAX_COMMITMENT_BYTES
    with pytest.raises(MinerFault):
        ModelId("a/" + "b" * (longest + 1), "f127", COMMIT)


@given(st.text(max_size=200))
def test_model_id_of_any_text_parses_back_or_is_the_miners_fault(text: str) -> None:
    try:
        assert str(ModelId.parse(text)) == text
    except MinerFault as fault:
        assert fault.reason is Reason.COMMITMENT_MALFORMED


@pytest.mark.parametrize("text", ["a/b", "user-1/data_set.v2", "A/0"])
def test_repo_id_good_is_accepted(text: str) -> None:
    assert is_repo_id(text)


@pytest.mark.parametrize(
    "text", ["a", "a/b/c", "a/..", "a/b..c", "a/b--c", "-a/b", "a/b-", "a/b.git", "é/b", "a/b\n"]
)
def test_repo_id_bad_is_refused(text: str) -> None:
    assert not is_repo_id(text)


def neuron(uid: int, hotkey: str, coldkey: str, stake: float = 0.0, permit: bool = False) -> Neuron:
    return Neuron(uid, hotkey, coldkey, stake, permit, 0, 0.0, 0.0, 0.0)


def subnet_of(*neurons: Neuron, threshold: float = 0.0) -> SubnetSnapshot:
    return SubnetSnapshot(
        1, 100, "owner", neurons, {}, owner_coldkey="the owner's", stake_threshold=threshold
    )


def test_burn_uid_is_the_owners_hotkey_else_one_of_its_coldkey_else_none() -> None:
    stranger, spare = neuron(0, "stranger", "theirs"), neuron(1, "spare", "the owner's")
    owner = neuron(2, "owner", "the owner's")

    assert subnet_of(stranger, spare, owner).burn_uid == 2
    assert subnet_of(stranger, spare).burn_uid == 1
    assert subnet_of(stranger).burn_uid is None


def test_counts_takes_a_permit_and_stake_and_of_the_owner_only_the_permit() -> None:
    snapshot = subnet_of(
        neuron(0, "owner", "the owner's", stake=0, permit=True),
        neuron(1, "poor", "theirs", stake=9, permit=True),
        neuron(2, "rich", "theirs", stake=10, permit=True),
        neuron(3, "unpermitted", "theirs", stake=1000),
        threshold=10,
    )

    counting = [each.hotkey for each in snapshot.neurons if snapshot.counts(each.hotkey)]
    assert counting == ["owner", "rich"]
    assert not snapshot.counts("unregistered")


def test_chain_weights_are_those_sent_to_within_the_chains_rounding() -> None:
    shown = ChainWeights(100, {3: 21845, 4: 65535, 9: 7})

    assert shown.are({3: 1.0, 4: 3.0, 9: 3 * 7 / 65535})
    assert shown.are({3: 1.0, 4: 3.0, 9: 3 * 7.4 / 65535, 10: 0.0})
    assert not shown.are({3: 1.0, 4: 3.0})
    assert not shown.are({3: 1.0, 4: 3.0, 9: 3 * 9 / 65535})
    assert ChainWeights(100, {3: 21845}).are({3: 1.0, 4: 3.0}, gone={4})
    assert not ChainWeights(100, {}).are({3: 1.0})
