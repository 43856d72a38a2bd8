"""Whose fault an unavailable dataset is: the miner's only on evidence."""

from pathlib import Path

import pytest

from flockoff.errors import HubTransient, HubUnauthorized, MinerFault, Reason
from flockoff.hub import HubClient
from flockoff.localnet.hub import HubServer, HubSettings, altered, answer
from tests.support.hub_users import HASTE, Owner, owner_at

BODY = "/resolve/"


def blamed(client: HubClient, repo: str, commit: str, directory: Path) -> Reason:
    """The reason with which a download is the miner's fault."""
    with pytest.raises(MinerFault) as error:
        client.download(repo, commit, directory, max_bytes=10)
    return error.value.reason


def give_content(hub: HubServer, client: HubClient, directory: Path) -> None:
    """Let ``client`` see that the hub has content to give."""
    hub.faults.clear()
    other = owner_at(hub, f"other{len(hub.requests)}")
    client.download(other.repo, other.upload(b"y"), directory, max_bytes=10)


@pytest.mark.parametrize("status", [404, 410])
def test_download_of_content_deleted_behind_its_file_is_the_miners_fault(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path, status: int
) -> None:
    commit = alice.upload(b"x")
    hub.faults.add("GET", BODY, answer(status), times=99)
    with pytest.raises(HubTransient):
        anybody.download(alice.repo, commit, tmp_path, max_bytes=10)  # does the hub have any content now?
    give_content(hub, anybody, tmp_path)
    hub.faults.add("GET", BODY, answer(status), times=HASTE.tries)
    assert blamed(anybody, alice.repo, commit, tmp_path) is Reason.FILE_MISSING


def test_download_of_content_missing_for_a_moment_comes_through(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(b"x")
    hub.faults.add("GET", BODY, answer(404))
    assert anybody.download(alice.repo, commit, tmp_path, max_bytes=10).read_bytes() == b"x"


@pytest.mark.parametrize("status", [401, 403])
def test_download_refused_though_open_to_all_is_nobodys_fault(
    hub: HubServer, bob: Owner, alice: Owner, anybody: HubClient, tmp_path: Path, status: int
) -> None:
    commit = alice.upload(b"x")
    for client in (anybody, bob.client):
        hub.faults.add("GET", BODY, answer(status))
        with pytest.raises(HubTransient, match="although it is public"):
            client.download(alice.repo, commit, tmp_path, max_bytes=10)


def test_download_refused_because_closed_meanwhile_is_the_miners_fault(
    hub: HubServer, alice: Owner, bob: Owner, tmp_path: Path
) -> None:
    commit = alice.upload(b"x")

    def closing(body: bytes) -> bytes:
        alice.api.update_repo_settings(alice.repo, gated="manual", repo_type="dataset")
        return body

    hub.faults.add("POST", "/paths-info/", altered(closing))
    hub.faults.add("GET", BODY, answer(403))  # and no word about the gate
    assert blamed(bob.client, alice.repo, commit, tmp_path) is Reason.REPO_MISSING


def test_download_refused_to_a_token_that_expired_meanwhile_is_ours(
    hub: HubServer, alice: Owner, bob: Owner, tmp_path: Path
) -> None:
    commit = alice.upload(b"x")
    bob.client.account()
    hub.faults.add("GET", BODY, answer(401))
    hub.faults.add("GET", "whoami", answer(401))
    with pytest.raises(HubUnauthorized):
        bob.client.download(alice.repo, commit, tmp_path, max_bytes=10)


@pytest.mark.parametrize(("status", "reason"), [(403, None), (500, None), (404, Reason.FILE_MISSING)])
def test_download_refused_by_storage_elsewhere_blames_only_for_what_is_not_there(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path, status: int, reason: Reason | None
) -> None:
    commit = alice.upload(b"x")
    give_content(hub, anybody, tmp_path)
    with HubServer(HubSettings(state_dir=tmp_path / "storage")) as storage:
        forged = {"X-Error-Code": "GatedRepo" if status == 403 else "RepoNotFound"}
        storage.faults.add("GET", BODY, answer(status, headers=forged), times=99)
        hub.switches.redirect(to=storage.endpoint, times=99)
        with pytest.raises(MinerFault if reason else HubTransient) as error:
            anybody.download(alice.repo, commit, tmp_path, max_bytes=10)
    assert getattr(error.value, "reason", None) is reason
