"""The hub double under git itself, and its listings: everything for the owner, public repos for others."""

import os
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from flockoff.localnet.hub import HubServer
from tests.support.hub_users import Owner


def clone(hub: HubServer, repo: str, target: Path, token: str | None = None) -> int:
    """Clone with the git of this machine; returns its exit status."""
    user = f"anyone:{token}@" if token else ""
    address = hub.endpoint.replace("http://", f"http://{user}") + f"/datasets/{repo}"
    done = subprocess.run(
        ["git", "clone", "--quiet", address, str(target)],
        env=os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_ASKPASS": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
    )
    return done.returncode


@pytest.mark.parametrize("suffix", ["", ".git"])
def test_clone_of_a_public_repo_gives_anybody_its_files(
    hub: HubServer, alice: Owner, tmp_path: Path, suffix: str
) -> None:
    alice.upload(b"rows\n")
    alice.upload(b"more rows\n")
    assert clone(hub, alice.repo + suffix, tmp_path / "copy") == 0
    assert (tmp_path / "copy" / "data.jsonl").read_bytes() == b"more rows\n"


def test_clone_of_a_private_repo_is_for_its_owner_only(
    hub: HubServer, alice: Owner, bob: Owner, tmp_path: Path
) -> None:
    alice.upload(b"rows\n", private=True)
    assert clone(hub, alice.repo, tmp_path / "anybody") != 0
    assert clone(hub, alice.repo, tmp_path / "bob", bob.token) != 0
    assert clone(hub, alice.repo, tmp_path / "unknown", "hf_unknown") != 0
    assert clone(hub, alice.repo, tmp_path / "alice", alice.token) == 0
    assert (tmp_path / "alice" / "data.jsonl").read_bytes() == b"rows\n"


def test_listing_shows_private_repos_to_their_owner_only(hub: HubServer, alice: Owner, bob: Owner) -> None:
    alice.upload(b"rows\n", private=True)
    bob.upload(b"rows\n")

    def listed(api: HfApi, owner: Owner) -> list[str]:
        return [info.id for info in api.list_datasets(author=owner.name)]

    assert listed(alice.api, alice) == [alice.repo]
    assert listed(bob.api, alice) == listed(HfApi(endpoint=hub.endpoint, token=False), alice) == []
    assert listed(alice.api, bob) == [bob.repo]
    found = HfApi(endpoint=hub.endpoint, token=False).list_datasets(search=bob.name)
    assert [info.id for info in found] == [bob.repo]
