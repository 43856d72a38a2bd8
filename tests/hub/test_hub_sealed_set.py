"""The sealed evaluation set: validators with access get it, and nobody is blamed for the others."""

import hashlib
from pathlib import Path

import pytest

from flockoff.competition import SealedSet
from flockoff.errors import HubTransient, SetupError
from flockoff.hub import HubClient
from flockoff.localnet.hub import HubServer, answer
from tests.support.hub_users import Owner

ROWS = b"sealed rows\n"


@pytest.fixture
def sealed(alice: Owner) -> SealedSet:
    commit = alice.upload(ROWS, private=True)
    return SealedSet(repo=alice.repo, commit=commit, sha256=hashlib.sha256(ROWS).hexdigest(), weight=0.5)


def test_sealed_set_is_fetched_by_who_may_read_it_under_a_name_of_its_own(
    alice: Owner, sealed: SealedSet, tmp_path: Path
) -> None:
    (tmp_path / "data.jsonl").write_bytes(b"public rows\n")
    file = alice.client.fetch_evaluation_set(sealed, tmp_path)
    assert file == tmp_path / f"{sealed.sha256}.jsonl"
    assert file.read_bytes() == ROWS
    assert (tmp_path / "data.jsonl").read_bytes() == b"public rows\n"


def test_sealed_set_is_kept_from_everybody_else_with_the_remedy(
    bob: Owner, anybody: HubClient, sealed: SealedSet, tmp_path: Path
) -> None:
    for client in (bob.client, anybody):
        with pytest.raises(SetupError) as error:
            client.fetch_evaluation_set(sealed, tmp_path)
        assert "sealed evaluation set" in error.value.message
        assert sealed.repo in error.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [401, 403])
def test_sealed_set_refused_to_the_token_is_the_operators_to_mend(
    hub: HubServer, alice: Owner, sealed: SealedSet, tmp_path: Path, status: int
) -> None:
    hub.faults.add("GET", "/resolve/", answer(status), times=9)
    with pytest.raises(SetupError):
        alice.client.fetch_evaluation_set(sealed, tmp_path)


def test_sealed_set_of_a_busy_hub_is_waited_for(
    hub: HubServer, alice: Owner, sealed: SealedSet, tmp_path: Path
) -> None:
    hub.faults.add("GET", "/api/datasets/", answer(503), times=9)
    with pytest.raises(HubTransient):
        alice.client.fetch_evaluation_set(sealed, tmp_path)


def test_sealed_set_that_is_not_the_pinned_one_is_refused(alice: Owner, tmp_path: Path) -> None:
    other = SealedSet(repo=alice.repo, commit=alice.upload(b"x", private=True), sha256="0" * 64, weight=0.5)
    with pytest.raises(SetupError, match="not the competition's sealed evaluation set"):
        alice.client.fetch_evaluation_set(other, tmp_path)
