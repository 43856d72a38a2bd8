"""A miner whose dataset repo belongs to an organisation, in each role, over HTTP."""

from pathlib import Path

import pytest

from flockoff.errors import HubUnauthorized, MinerFault, Reason
from flockoff.hub import HubClient
from flockoff.localnet.hub import HubServer
from tests.support.hub_users import HASTE, Owner


@pytest.fixture
def acme(hub: HubServer, bob: Owner) -> str:
    """An organisation that bob administers."""
    name = f"acme-{bob.name}"
    hub.add_member(name, bob.name, "admin")
    return name


@pytest.mark.parametrize("role", ["contributor", "write", "admin"])
def test_member_who_may_write_submits_to_a_new_repo_of_the_organisation(
    hub: HubServer, acme: str, alice: Owner, anybody: HubClient, data_file: Path, tmp_path: Path, role: str
) -> None:
    hub.add_member(acme, alice.name, role)  # type: ignore[arg-type]
    repo = f"{acme}/of-{alice.name}"

    made = alice.client.upload(repo, data_file)

    assert alice.client.account().owners == {alice.name, acme}
    with pytest.raises(MinerFault) as closed:
        anybody.download(repo, made.commit, tmp_path / "1", max_bytes=10**6)
    assert closed.value.reason is Reason.REPO_MISSING
    alice.client.publish(repo)
    assert anybody.download(repo, made.commit, tmp_path / "2", max_bytes=10**6).read_bytes()
    assert not alice.client.upload(repo, data_file).changed


@pytest.mark.parametrize("role", ["write", "admin"])
def test_member_with_role_write_submits_to_and_publishes_another_members_repo(
    hub: HubServer, acme: str, alice: Owner, bob: Owner, data_file: Path, role: str
) -> None:
    hub.add_member(acme, alice.name, role)  # type: ignore[arg-type]
    repo = f"{acme}/bobs-{role}"
    bob.client.upload(repo, data_file)
    data_file.write_bytes(b"{}\n")

    assert alice.client.upload(repo, data_file).changed
    alice.client.publish(repo)
    state = bob.client.repo_state(repo)
    assert state is not None
    assert not state.private


def test_contributor_is_told_that_another_members_repo_takes_more(
    hub: HubServer, acme: str, alice: Owner, bob: Owner, data_file: Path
) -> None:
    hub.add_member(acme, alice.name, "contributor")
    repo = f"{acme}/bobs"
    first = bob.client.upload(repo, data_file)
    data_file.write_bytes(b"{}\n")

    for refused in (lambda: alice.client.upload(repo, data_file), lambda: alice.client.publish(repo)):
        with pytest.raises(HubUnauthorized) as caught:
            refused()
        assert "contributor" in caught.value.remedy
        assert "role write" in caught.value.remedy
    state = bob.client.repo_state(repo)
    assert state is not None
    assert (state.head, state.private) == (first.commit, True)


def test_reader_is_told_before_anything_is_sent(
    hub: HubServer, acme: str, alice: Owner, data_file: Path
) -> None:
    hub.add_member(acme, alice.name, "read")
    sent = len(hub.requests)

    with pytest.raises(HubUnauthorized, match=f"may only read in the organisation {acme}") as caught:
        alice.client.upload(f"{acme}/data", data_file)

    assert f"{alice.name}/data" in caught.value.remedy
    assert {method for method, _ in hub.requests[sent:]} == {"GET"}


def test_who_is_no_member_or_has_a_token_that_may_only_read_is_told_so(
    hub: HubServer, acme: str, alice: Owner, data_file: Path
) -> None:
    with pytest.raises(HubUnauthorized, match=f"cannot write to {acme}/data"):
        alice.client.upload(f"{acme}/data", data_file)

    hub.add_member(acme, alice.name, "write")
    reader = HubClient(hub.add_user(alice.name, role="read"), hub.endpoint, patience=HASTE)
    with pytest.raises(HubUnauthorized, match="is read-only") as caught:
        reader.upload(f"{acme}/data", data_file)
    assert "HF_TOKEN" in caught.value.remedy
