"""A process that tries to get a miner's dataset before its owner has committed it.

It knows the repo's name and looks in every way that the hub offers, as nobody and as a user of the hub. It
writes a line of JSON a round: what it saw, by the way it was seen, and, where it saw something, whether the
owner's commitment was final on chain by then. It ends when every way has led to the repo.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from dulwich.client import HTTPUnauthorized, get_transport_and_path
from dulwich.errors import NotGitRepository
from dulwich.objects import Commit, Tree
from dulwich.refs import Ref
from dulwich.repo import MemoryRepo
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from flockoff.chain import SubtensorChain, open_chain

FILE = "data.jsonl"
SECONDS = 120.0  # after so long the thief gives up
PAUSE_SECONDS = 0.1

Sight = list[str]  # names, commits or contents; empty where nothing was seen


@dataclass(frozen=True)
class Round:
    """``seen``: by "who: way", what it led to. ``final``: None where nothing was seen."""

    seen: dict[str, Sight]
    final: bool | None


@dataclass(frozen=True)
class Identity:
    name: str
    api: HfApi
    token: str | None


def rounds_in(file: Path) -> list[Round]:
    """The rounds that a thief has written so far."""
    whole, _, _ = file.read_text(encoding="utf-8").rpartition("\n")
    return [Round(**json.loads(line)) for line in whole.splitlines()]


def is_final(endpoint: str, chain: SubtensorChain, repo: str) -> bool:
    """Whether the chain shows a commitment to ``repo`` at its last final block."""
    with connect(endpoint) as node:
        head = _asked(node, "chain_getFinalizedHead")
        number = int(_asked(node, "chain_getHeader", head)["number"], 16)
    commitments = chain.snapshot(number).commitments.values()
    return any(shown.text.startswith(f"{repo}:") for shown in commitments)


def _asked(node: Connection, method: str, *parameters: str) -> Any:
    node.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))
    return json.loads(node.recv())["result"]


# --- the ways --------------------------------------------------------------------------------------------


def look_at_info(thief: Identity, repo: str) -> Sight:
    return [str(thief.api.dataset_info(repo).sha)]


def list_by_owner(thief: Identity, repo: str) -> Sight:
    return [info.id for info in thief.api.list_datasets(author=repo.partition("/")[0]) if info.id == repo]


def search_by_name(thief: Identity, repo: str) -> Sight:
    return [info.id for info in thief.api.list_datasets(search=repo.partition("/")[2]) if info.id == repo]


def walk_the_tree(thief: Identity, repo: str) -> Sight:
    return [item.path for item in thief.api.list_repo_tree(repo, repo_type="dataset") if item.path == FILE]


def ask_for_the_path(thief: Identity, repo: str) -> Sight:
    return [item.path for item in thief.api.get_paths_info(repo, [FILE], repo_type="dataset")]


def read_the_history(thief: Identity, repo: str) -> Sight:
    return [commit.commit_id for commit in thief.api.list_repo_commits(repo, repo_type="dataset")]


def read_the_branches(thief: Identity, repo: str) -> Sight:
    return [ref.target_commit for ref in thief.api.list_repo_refs(repo, repo_type="dataset").branches]


def download(thief: Identity, repo: str) -> Sight:
    url = hf_hub_url(repo, FILE, repo_type="dataset", endpoint=thief.api.endpoint)
    answer = httpx2.get(url, headers={"authorization": f"Bearer {thief.token}"} if thief.token else {})
    return [answer.text] if answer.is_success else []


def clone(thief: Identity, repo: str) -> Sight:
    user, password = (thief.name, thief.token) if thief.token else (None, None)
    address = f"{thief.api.endpoint}/datasets/{repo}"
    client, path = get_transport_and_path(address, username=user, password=password)
    copy = MemoryRepo()
    try:
        refs = client.fetch(path, copy).refs
    except (NotGitRepository, HTTPUnauthorized):
        return []
    head = copy[refs[Ref(b"refs/heads/main")] or b""]
    assert isinstance(head, Commit)
    tree = copy[head.tree]
    assert isinstance(tree, Tree)
    return [copy[tree[FILE.encode()][1]].as_raw_string().decode()]


WAYS: dict[str, Callable[[Identity, str], Sight]] = {
    "info": look_at_info,
    "owner's list": list_by_owner,
    "search": search_by_name,
    "tree": walk_the_tree,
    "path": ask_for_the_path,
    "history": read_the_history,
    "branches": read_the_branches,
    "download": download,
    "clone": clone,
}


def look(thief: Identity, way: Callable[[Identity, str], Sight], repo: str) -> Sight:
    try:
        return way(thief, repo)
    except HfHubHTTPError:  # the hub does not show it
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repo")
    parser.add_argument("--hub", required=True)
    parser.add_argument("--token", required=True, help="of a user of the hub who is not the owner")
    parser.add_argument("--chain", required=True)
    parser.add_argument("--netuid", type=int, required=True)
    options = parser.parse_args()
    identities = [
        Identity("nobody", HfApi(options.hub, token=False), None),
        Identity("thief", HfApi(options.hub, token=options.token), options.token),
    ]
    give_up = time.monotonic() + SECONDS
    with closing(open_chain(endpoint=options.chain, netuid=options.netuid, wallet=None)) as chain:
        while time.monotonic() < give_up:
            sights = {
                f"{thief.name}: {name}": look(thief, way, options.repo)
                for thief in identities
                for name, way in WAYS.items()
            }
            seen = {name: sight for name, sight in sights.items() if sight}
            final = is_final(options.chain, chain, options.repo) if seen else None
            sys.stdout.write(json.dumps({"seen": seen, "final": final}) + "\n")
            sys.stdout.flush()
            if len(seen) == len(sights):
                return
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
