import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.errors import MinerFault, Reason
from flockoff.records import MAX_COMMITMENT_BYTES, ModelId, is_repo_id

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
