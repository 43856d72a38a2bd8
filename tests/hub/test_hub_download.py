"""Downloading datasets at a commit: bounded, verified, resumed, and whose fault it is when it fails."""

import gzip
import hashlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from flockoff.errors import (
    HubFatal,
    HubTransient,
    HubUnauthorized,
    Interrupted,
    MinerFault,
    Reason,
    SetupError,
)
from flockoff.hub import HubClient
from flockoff.localnet.hub import HubServer, HubSettings, altered, answer, cut, drip, silence
from tests.support.hub_users import HASTE, Owner, owner_at

CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes
BODY = "/resolve/"


def bodies_sent(hub: HubServer, owner: Owner, commit: str) -> int:
    return hub.requests.count(("GET", f"/datasets/{owner.repo}/resolve/{commit}/data.jsonl"))


def fault_of(client: HubClient, repo: str, commit: str, directory: Path, *, max_bytes: int = 10) -> Reason:
    """The reason with which a download is the miner's fault."""
    with pytest.raises(MinerFault) as error:
        client.download(repo, commit, directory, max_bytes=max_bytes)
    return error.value.reason


def test_download_lands_whole_under_a_hashed_name(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)
    path = anybody.download(alice.repo, commit, tmp_path / "new" / "dir", max_bytes=len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert path.name == hashlib.sha256(f"{alice.repo}/{commit}".encode()).hexdigest() + ".jsonl"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_download_of_what_is_there_asks_nothing(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(b"x")
    path = anybody.download(alice.repo, commit, tmp_path, max_bytes=10)
    before = hub.requests
    assert anybody.download(alice.repo, commit, tmp_path, max_bytes=10) == path
    assert hub.requests == before


def test_download_gets_the_commit_and_not_the_head(alice: Owner, anybody: HubClient, tmp_path: Path) -> None:
    first = alice.upload(b"first")
    alice.upload(b"second")
    assert anybody.download(alice.repo, first, tmp_path, max_bytes=10).read_bytes() == b"first"


def test_download_above_the_bound_is_refused_before_the_first_byte(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)
    too_small = len(CONTENT) - 1
    assert fault_of(anybody, alice.repo, commit, tmp_path, max_bytes=too_small) is Reason.TOO_LARGE
    assert bodies_sent(hub, alice, commit) == 0


def test_download_of_missing_things_is_the_miners_fault(
    alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    without_file = alice.upload(b"x", "other.txt")
    cases = {
        (alice.repo, "f" * 40): Reason.COMMIT_MISSING,
        (alice.repo, "main"): Reason.COMMIT_MISSING,
        (alice.repo, without_file[:12]): Reason.COMMIT_MISSING,
        (alice.repo, without_file): Reason.FILE_MISSING,
        (f"{alice.name}/nothing", without_file): Reason.REPO_MISSING,
        ("../../etc/passwd", without_file): Reason.REPO_MISSING,
    }
    for (repo, commit), reason in cases.items():
        assert fault_of(anybody, repo, commit, tmp_path) is reason
    assert list(tmp_path.iterdir()) == []


def test_download_of_folder_named_like_the_file_is_file_missing(
    alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(b"x", "data.jsonl/part.jsonl")
    assert fault_of(anybody, alice.repo, commit, tmp_path) is Reason.FILE_MISSING


def test_download_of_branch_named_like_a_commit_is_commit_missing(
    alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    alice.upload(b"x")
    alice.api.create_branch(alice.repo, branch="a" * 40, repo_type="dataset")
    assert fault_of(anybody, alice.repo, "a" * 40, tmp_path) is Reason.COMMIT_MISSING


def test_download_of_private_or_gated_repo_is_repo_missing(
    alice: Owner, bob: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(b"x", private=True)
    for client in (anybody, bob.client):
        assert fault_of(client, alice.repo, commit, tmp_path) is Reason.REPO_MISSING
    alice.api.update_repo_settings(alice.repo, private=False, gated="manual", repo_type="dataset")
    assert fault_of(bob.client, alice.repo, commit, tmp_path) is Reason.REPO_MISSING
    assert alice.client.download(alice.repo, commit, tmp_path, max_bytes=10).read_bytes() == b"x"


def test_download_with_wrong_token_is_nobodys_fault_but_ours(
    hub: HubServer, alice: Owner, tmp_path: Path
) -> None:
    commit = alice.upload(b"x")
    client = HubClient("hf_wrong", hub.endpoint, patience=HASTE)
    with pytest.raises(HubUnauthorized):
        client.download(alice.repo, commit, tmp_path, max_bytes=10)


def test_download_missing_repo_under_expired_token_is_not_blamed_on_the_miner(
    hub: HubServer, alice: Owner, bob: Owner, tmp_path: Path
) -> None:
    commit = alice.upload(b"x")
    hub.faults.add("GET", "/api/datasets/", answer(401, headers={"X-Error-Code": "RepoNotFound"}))
    hub.faults.add("GET", "whoami", answer(401))
    with pytest.raises(HubUnauthorized):
        bob.client.download(alice.repo, commit, tmp_path, max_bytes=10)


def test_download_blames_on_one_token_check_for_many_miners(
    hub: HubServer, bob: Owner, tmp_path: Path
) -> None:
    before = hub.requests.count(("GET", "/api/whoami-v2"))
    for number in range(5):
        fault_of(bob.client, f"no/one{number}", "a" * 40, tmp_path)
    assert hub.requests.count(("GET", "/api/whoami-v2")) == before + 1


def test_download_from_what_is_no_hub_is_not_blamed_on_the_miner(
    hub: HubServer, anybody: HubClient, tmp_path: Path
) -> None:
    for answered in (answer(404), answer(200, b"<html>"), answer(200, b"[]"), answer(200, b"{}")):
        hub.faults.add("GET", "/api/datasets/", answered)
        with pytest.raises(HubFatal) as error:
            anybody.download("some/repo", "a" * 40, tmp_path, max_bytes=10)
        assert not isinstance(error.value, MinerFault)
        assert "HF_ENDPOINT" in error.value.remedy


@pytest.mark.parametrize("route", ["/revision/", "/paths-info/", BODY])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_download_on_a_bad_day_comes_through(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path, route: str, status: int
) -> None:
    commit = alice.upload(b"x")
    for method in ("GET", "POST"):
        hub.faults.add(method, route, answer(status, headers={"Retry-After": "0"}), times=2)
    assert anybody.download(alice.repo, commit, tmp_path, max_bytes=10).read_bytes() == b"x"


def test_download_with_more_bad_luck_than_patience_is_transient(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(b"x")
    hub.faults.add("GET", BODY, answer(500), times=99)
    with pytest.raises(HubTransient):
        anybody.download(alice.repo, commit, tmp_path, max_bytes=10)
    assert bodies_sent(hub, alice, commit) == HASTE.tries


def test_download_waits_as_long_as_the_hub_asks(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(b"x")
    hub.faults.add("GET", BODY, answer(429, headers={"Retry-After": "1"}))
    begun = time.monotonic()
    anybody.download(alice.repo, commit, tmp_path, max_bytes=10)
    assert time.monotonic() - begun >= 1


def test_download_does_not_wait_for_hours(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(b"x")
    hub.faults.add("GET", BODY, answer(429, headers={"Retry-After": "7200"}))
    with pytest.raises(HubTransient) as error:
        anybody.download(alice.repo, commit, tmp_path, max_bytes=10)
    assert error.value.retry_after == 7200
    assert bodies_sent(hub, alice, commit) == 1


def test_download_cut_twice_is_resumed_where_it_broke_off(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)
    seen: list[int] = []

    def noted(body: bytes) -> bytes:
        seen.append(len(body))
        return body

    hub.faults.add("GET", BODY, cut(300_000), times=2)
    hub.faults.add("GET", BODY, altered(noted))
    path = anybody.download(alice.repo, commit, tmp_path, max_bytes=len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert seen[0] < len(CONTENT)


def test_download_broken_off_for_good_is_resumed_by_the_next(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)
    hub.faults.add("GET", BODY, cut(200_000), times=HASTE.tries)
    with pytest.raises(HubTransient):
        anybody.download(alice.repo, commit, tmp_path, max_bytes=len(CONTENT))
    assert not list(tmp_path.glob("*.jsonl"))
    path = anybody.download(alice.repo, commit, tmp_path, max_bytes=len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_download_resumed_at_a_hub_without_ranges_starts_over(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)
    hub.faults.add("GET", BODY, cut(300_000))
    hub.faults.add("GET", BODY, answer(200, CONTENT))
    path = anybody.download(alice.repo, commit, tmp_path, max_bytes=len(CONTENT))
    assert path.read_bytes() == CONTENT


def test_download_with_flipped_byte_is_fetched_again(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)
    hub.faults.add("GET", BODY, altered(lambda body: body[:500] + b"!" + body[501:]))
    path = anybody.download(alice.repo, commit, tmp_path, max_bytes=len(CONTENT))
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "change",
    [lambda body: body[:-1] + b"!", lambda body: body + b"more", lambda body: body[:-1], lambda body: b""],
    ids=["flipped", "longer", "shorter", "empty"],
)
def test_download_wrong_every_time_is_transient_and_leaves_no_file(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    commit = alice.upload(b"0123456789")
    hub.faults.add("GET", BODY, altered(change), times=99)
    with pytest.raises(HubTransient):
        anybody.download(alice.repo, commit, tmp_path, max_bytes=10)
    assert not list(tmp_path.glob("*.jsonl"))


def test_download_with_lying_size_stops_at_the_announced_one(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)

    def smaller(body: bytes) -> bytes:
        return json.dumps([json.loads(body)[0] | {"size": 1000}]).encode()

    hub.faults.add("POST", "/paths-info/", altered(smaller))
    with pytest.raises(HubTransient, match="more than the 1000 bytes"):
        anybody.download(alice.repo, commit, tmp_path, max_bytes=1000)
    assert list(tmp_path.iterdir()) == []


def test_download_sent_compressed_is_refused(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)
    bomb = answer(200, gzip.compress(CONTENT), {"Content-Encoding": "gzip"})
    hub.faults.add("GET", BODY, bomb, times=99)
    with pytest.raises(HubTransient, match="compressed"):
        anybody.download(alice.repo, commit, tmp_path, max_bytes=len(CONTENT))


def test_download_dripping_slowly_ends_at_the_deadline(hub: HubServer, alice: Owner, tmp_path: Path) -> None:
    commit = alice.upload(CONTENT)
    hub.faults.add("GET", BODY, drip(10, 0.05), times=99)
    client = HubClient(None, hub.endpoint, patience=replace(HASTE, grace=0.4))
    begun = time.monotonic()
    with pytest.raises(HubTransient, match="took too long"):
        client.download(alice.repo, commit, tmp_path, max_bytes=len(CONTENT))
    assert time.monotonic() - begun < 60  # the whole download would take minutes


def test_download_from_silent_hub_times_out(hub: HubServer, alice: Owner, tmp_path: Path) -> None:
    commit = alice.upload(b"x")
    for route in ("/revision/", BODY):
        hub.faults.add("GET", route, silence(300.0))
        client = HubClient(None, hub.endpoint, patience=replace(HASTE, timeout=0.2, tries=1))
        with pytest.raises(HubTransient, match="in time"):
            client.download(alice.repo, commit, tmp_path, max_bytes=10)


def test_close_ends_a_download_under_way(hub: HubServer, alice: Owner, tmp_path: Path) -> None:
    commit = alice.upload(CONTENT)
    hub.faults.add("GET", BODY, drip(100, 0.05))
    client = HubClient(None, hub.endpoint, patience=replace(HASTE, grace=60.0))
    threading.Timer(0.3, client.close).start()
    begun = time.monotonic()
    with pytest.raises(Interrupted):
        client.download(alice.repo, commit, tmp_path, max_bytes=len(CONTENT))
    assert time.monotonic() - begun < 60  # the whole download would take minutes


def test_download_from_storage_elsewhere_goes_there_without_the_token(
    hub: HubServer, alice: Owner, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)
    with HubServer(HubSettings(state_dir=tmp_path / "storage")) as storage:
        # a hub of its own, to which alice's token is unknown: it would answer 401
        elsewhere = owner_at(storage, "storage")
        stored = elsewhere.upload(CONTENT)
        location = f"{storage.endpoint}/datasets/{elsewhere.repo}/resolve/{stored}/data.jsonl"
        hub.faults.add("GET", BODY, answer(302, headers={"Location": location}))
        path = alice.client.download(alice.repo, commit, tmp_path, max_bytes=len(CONTENT))
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd", "/datasets/a/b/resolve/c/d"])
def test_download_redirected_astray_fails(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path, location: str
) -> None:
    commit = alice.upload(b"x")
    hub.faults.add("GET", BODY, answer(302, headers={"Location": location}), times=99)
    with pytest.raises(HubTransient, match="redirects"):
        anybody.download(alice.repo, commit, tmp_path, max_bytes=10)


def test_download_of_lfs_file_is_checked_by_sha256(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)

    def in_lfs(sha256: str) -> Callable[[bytes], bytes]:
        lfs = {"oid": sha256, "size": len(CONTENT), "pointerSize": 134}
        return lambda body: json.dumps([json.loads(body)[0] | {"lfs": lfs, "oid": "0" * 40}]).encode()

    hub.faults.add("POST", "/paths-info/", altered(in_lfs("0" * 64)))
    with pytest.raises(HubTransient, match="not what it announced"):
        anybody.download(alice.repo, commit, tmp_path, max_bytes=len(CONTENT))
    hub.faults.add("POST", "/paths-info/", altered(in_lfs(hashlib.sha256(CONTENT).hexdigest())))
    assert anybody.download(alice.repo, commit, tmp_path, max_bytes=len(CONTENT)).exists()


@pytest.mark.slow
def test_download_from_many_threads_gives_each_the_whole_file(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commits = [alice.upload(CONTENT + bytes([number])) for number in range(4)]
    hub.faults.add("GET", BODY, cut(400_000), times=4)
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(anybody.download, alice.repo, commit, tmp_path, max_bytes=1 << 21)
            for commit in commits * 3
        ]
        paths = [job.result(timeout=300) for job in jobs]
    for number, path in enumerate(paths):
        assert path.read_bytes() == CONTENT + bytes([number % 4])
    assert len(list(tmp_path.glob("*.jsonl"))) == 4


def test_download_to_unwritable_place_is_a_setup_error(
    alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(b"x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SetupError):
        anybody.download(alice.repo, commit, tmp_path / "file" / "below", max_bytes=10)
