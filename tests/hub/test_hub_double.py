"""The hub double under the unmodified huggingface_hub."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from flockoff.errors import LocalnetError
from flockoff.localnet.hub import HubServer, HubSettings, answer, cut
from tests.support.hub_users import Owner


def status_of(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return error.value.response.status_code


def test_whoami_tells_name_and_role_of_the_token(hub: HubServer, alice: Owner) -> None:
    reader = hub.add_user(alice.name, role="read")
    assert alice.api.whoami()["name"] == alice.name
    assert alice.api.whoami()["auth"]["accessToken"]["role"] == "write"
    assert HfApi(endpoint=hub.endpoint, token=reader).whoami()["auth"]["accessToken"]["role"] == "read"
    assert hub.add_user(alice.name, role="read") == reader != alice.token


def test_whoami_wrong_token_is_refused(hub: HubServer) -> None:
    with pytest.raises(HfHubHTTPError) as error:
        HfApi(endpoint=hub.endpoint, token="hf_wrong").whoami()
    assert status_of(error) == 401


def test_create_repo_twice_conflicts_and_names_the_url(hub: HubServer, alice: Owner) -> None:
    first = alice.api.create_repo(alice.repo, repo_type="dataset")
    assert alice.api.create_repo(alice.repo, repo_type="dataset", exist_ok=True) == first
    with pytest.raises(HfHubHTTPError) as error:
        alice.api.create_repo(alice.repo, repo_type="dataset")
    assert status_of(error) == 409
    assert str(first) == f"{hub.endpoint}/datasets/{alice.repo}"


def test_create_repo_in_foreign_namespace_is_forbidden(alice: Owner, bob: Owner) -> None:
    with pytest.raises(HfHubHTTPError) as error:
        bob.api.create_repo(f"{alice.name}/mine", repo_type="dataset")
    assert status_of(error) == 403


def test_create_repo_malformed_name_is_a_bad_request(hub: HubServer, alice: Owner) -> None:
    answered = httpx2.post(
        f"{hub.endpoint}/api/repos/create",
        json={"name": "../../etc", "type": "dataset"},
        headers={"Authorization": f"Bearer {alice.token}"},
    )
    assert answered.status_code == 400


def test_private_repo_is_invisible_to_all_but_its_owner(hub: HubServer, alice: Owner, bob: Owner) -> None:
    commit = alice.upload(b"x", private=True)
    for api in (bob.api, HfApi(endpoint=hub.endpoint, token=False)):
        for look in (
            api.dataset_info,
            lambda repo, api=api: list(api.list_repo_tree(repo, repo_type="dataset")),
        ):
            with pytest.raises(RepositoryNotFoundError):
                look(alice.repo)
        with pytest.raises(RepositoryNotFoundError):
            api.hf_hub_download(alice.repo, "data.jsonl", repo_type="dataset", revision=commit)
    assert alice.api.dataset_info(alice.repo).private


def test_visibility_change_makes_the_repo_public_and_back(hub: HubServer, alice: Owner) -> None:
    alice.upload(b"x", private=True)
    anybody = HfApi(endpoint=hub.endpoint, token=False)
    alice.api.update_repo_settings(alice.repo, private=False, repo_type="dataset")
    assert anybody.dataset_info(alice.repo).private is False
    alice.api.update_repo_settings(alice.repo, private=True, repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        anybody.dataset_info(alice.repo)


def test_gated_repo_shows_info_but_no_files_to_others(alice: Owner, bob: Owner, tmp_path: Path) -> None:
    alice.upload(b"x")
    alice.api.update_repo_settings(alice.repo, gated="auto", repo_type="dataset")
    assert bob.api.dataset_info(alice.repo).gated == "auto"
    with pytest.raises(GatedRepoError):
        bob.api.hf_hub_download(alice.repo, "data.jsonl", repo_type="dataset", cache_dir=tmp_path)


def test_read_token_may_look_but_not_write(hub: HubServer, alice: Owner) -> None:
    alice.upload(b"x", private=True)
    reader = HfApi(endpoint=hub.endpoint, token=hub.add_user(alice.name, role="read"))
    assert reader.dataset_info(alice.repo).private
    writes: list[Callable[[], object]] = [
        lambda: reader.create_repo(f"{alice.name}/new", repo_type="dataset"),
        lambda: reader.update_repo_settings(alice.repo, private=False, repo_type="dataset"),
        lambda: reader.delete_repo(alice.repo, repo_type="dataset"),
        lambda: reader.upload_file(
            path_or_fileobj=b"y", path_in_repo="data.jsonl", repo_id=alice.repo, repo_type="dataset"
        ),
    ]
    for write in writes:
        with pytest.raises(HfHubHTTPError) as error:
            write()
        assert status_of(error) == 403


def test_public_repo_of_another_cannot_be_changed(alice: Owner, bob: Owner) -> None:
    alice.upload(b"x")
    with pytest.raises(HfHubHTTPError) as error:
        bob.api.upload_file(
            path_or_fileobj=b"y", path_in_repo="data.jsonl", repo_id=alice.repo, repo_type="dataset"
        )
    assert status_of(error) == 403


def test_delete_repo_removes_it(alice: Owner) -> None:
    alice.upload(b"x")
    alice.api.delete_repo(alice.repo, repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        alice.api.dataset_info(alice.repo)
    assert alice.upload(b"again")


def test_commit_is_a_real_git_commit(hub: HubServer, alice: Owner) -> None:
    commit = alice.upload(b"hello\n")
    bare = hub.settings.state_dir / "repos" / "datasets" / f"{alice.repo}.git"
    shown = subprocess.run(
        ["git", "-C", str(bare), "cat-file", "blob", f"{commit}:data.jsonl"],
        capture_output=True,
        check=True,
        timeout=300,
    )
    assert shown.stdout == b"hello\n"


def test_commit_same_content_makes_no_new_commit(alice: Owner) -> None:
    assert alice.upload(b"same") == alice.upload(b"same") != alice.upload(b"other")


def test_commit_adds_and_deletes_files_and_folders(alice: Owner) -> None:
    alice.upload(b"keep")
    operations = [CommitOperationAdd(name, name.encode()) for name in ("a/b/c.txt", "a/d.txt", "e/f.txt")]
    alice.api.create_commit(alice.repo, operations, commit_message="add", repo_type="dataset")
    alice.api.create_commit(
        alice.repo,
        [CommitOperationDelete("a/b/c.txt"), CommitOperationDelete("e/")],
        commit_message="delete",
        repo_type="dataset",
    )
    names = alice.api.list_repo_files(alice.repo, repo_type="dataset")
    assert sorted(names) == [".gitattributes", "a/d.txt", "data.jsonl"]
    with pytest.raises(RemoteEntryNotFoundError):
        alice.api.delete_file("nothing.txt", alice.repo, repo_type="dataset")


def test_commit_on_moved_branch_is_refused(alice: Owner) -> None:
    first = alice.upload(b"1")
    alice.upload(b"2")
    with pytest.raises(HfHubHTTPError) as error:
        alice.api.upload_file(
            path_or_fileobj=b"3",
            path_in_repo="data.jsonl",
            repo_id=alice.repo,
            repo_type="dataset",
            parent_commit=first,
        )
    assert status_of(error) == 412


@pytest.mark.parametrize("path", ["../x", ".git/config", "a//b", "/etc/x", ""])
def test_commit_path_outside_the_repo_is_a_bad_request(hub: HubServer, alice: Owner, path: str) -> None:
    alice.upload(b"x")
    header = b'{"key": "header", "value": {"summary": "s"}}\n'
    lines = header + b'{"key": "file", "value": {"path": "%s", "content": "x"}}' % path.encode()
    answered = httpx2.post(
        f"{hub.endpoint}/api/datasets/{alice.repo}/commit/main",
        content=lines,
        headers={"Authorization": f"Bearer {alice.token}"},
    )
    assert answered.status_code == 400


def test_commit_as_pull_request_is_a_bad_request(alice: Owner) -> None:
    alice.upload(b"x")
    with pytest.raises(BadRequestError):
        alice.api.upload_file(
            path_or_fileobj=b"y",
            path_in_repo="data.jsonl",
            repo_id=alice.repo,
            repo_type="dataset",
            create_pr=True,
        )


@pytest.mark.slow
def test_upload_of_more_than_64_mib_comes_back_whole(alice: Owner, tmp_path: Path) -> None:
    big = tmp_path / "big.jsonl"
    big.write_bytes(bytes(range(256)) * 4096 * 65)
    alice.api.create_repo(alice.repo, repo_type="dataset")
    made = alice.api.upload_file(
        path_or_fileobj=str(big), path_in_repo="data.jsonl", repo_id=alice.repo, repo_type="dataset"
    )
    fetched = alice.api.hf_hub_download(
        alice.repo, "data.jsonl", repo_type="dataset", revision=made.oid, local_dir=tmp_path / "back"
    )
    assert Path(fetched).read_bytes() == big.read_bytes()


def test_info_lists_files_with_size_and_git_hash(alice: Owner) -> None:
    commit = alice.upload(b"hello\n")
    info = alice.api.dataset_info(alice.repo, revision=commit, files_metadata=True)
    assert info.sha == commit and info.siblings is not None
    found = {file.rfilename: (file.size, file.blob_id) for file in info.siblings}
    assert found["data.jsonl"] == (6, "ce013625030ba8dba906f756967f9e9ca394464a")  # git hash-object


def test_info_unknown_revision_is_not_found(alice: Owner) -> None:
    alice.upload(b"x")
    for revision in ("f" * 40, "nobranch", "é"):
        with pytest.raises(RevisionNotFoundError):
            alice.api.dataset_info(alice.repo, revision=revision)


def test_download_unknown_file_is_not_found(alice: Owner, tmp_path: Path) -> None:
    alice.upload(b"x")
    with pytest.raises(RemoteEntryNotFoundError):
        alice.api.hf_hub_download(alice.repo, "nothing", repo_type="dataset", cache_dir=tmp_path)


def test_branch_moves_while_a_commit_stays(alice: Owner, tmp_path: Path) -> None:
    first = alice.upload(b"1")
    alice.api.create_branch(alice.repo, branch="side", revision=first, repo_type="dataset")
    second = alice.upload(b"2")
    assert alice.api.dataset_info(alice.repo, revision="side").sha == first
    assert alice.api.dataset_info(alice.repo).sha == second
    refs = alice.api.list_repo_refs(alice.repo, repo_type="dataset")
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": second, "side": first}
    log = alice.api.list_repo_commits(alice.repo, repo_type="dataset")
    assert [made.commit_id for made in log][:2] == [second, first]


def test_tree_longer_than_a_page_is_listed_whole(hub: HubServer, alice: Owner) -> None:
    alice.upload(b"x")
    names = [f"folder/{number:03}.txt" for number in range(45)]
    operations = [CommitOperationAdd(name, name.encode()) for name in names]
    alice.api.create_commit(alice.repo, operations, commit_message="many", repo_type="dataset")
    before = len(hub.requests)
    listed = list(alice.api.list_repo_tree(alice.repo, "folder", repo_type="dataset"))
    assert [item.path for item in listed] == names
    assert len(hub.requests) - before == 3  # pages of 20
    assert sum(isinstance(item, RepoFile) for item in listed) == 45


def test_resolve_range_sends_just_that_part(hub: HubServer, alice: Owner) -> None:
    commit = alice.upload(b"0123456789")
    url = f"{hub.endpoint}/datasets/{alice.repo}/resolve/{commit}/data.jsonl"
    cases = {"bytes=3-5": b"345", "bytes=7-": b"789", "bytes=-2": b"89", "bytes=5-99": b"56789"}
    for header, expected in cases.items():
        answered = httpx2.get(url, headers={"Range": header})
        assert (answered.status_code, answered.content) == (206, expected)
        assert answered.headers["x-repo-commit"] == commit
    assert httpx2.get(url, headers={"Range": "bytes=10-"}).status_code == 416


def test_restart_serves_the_same_state(tmp_path: Path) -> None:
    settings = HubSettings(state_dir=tmp_path / "state")
    with HubServer(settings) as server:
        token = server.add_user("carol")
        api = HfApi(endpoint=server.endpoint, token=token)
        api.create_repo("carol/data", repo_type="dataset", private=True)
        made = api.upload_file(
            path_or_fileobj=b"x", path_in_repo="data.jsonl", repo_id="carol/data", repo_type="dataset"
        )
    with HubServer(settings) as server:
        assert server.add_user("carol") == token
        info = HfApi(endpoint=server.endpoint, token=token).dataset_info("carol/data")
        assert (info.sha, info.private) == (made.oid, True)


def test_start_on_taken_port_is_a_clear_error(hub: HubServer, tmp_path: Path) -> None:
    port = int(hub.endpoint.rpartition(":")[2])
    with pytest.raises(LocalnetError, match="cannot listen"):
        HubServer(HubSettings(state_dir=tmp_path, port=port)).start()


def test_start_on_damaged_state_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "hub.json").write_text('{"tokens": []}')
    with pytest.raises(LocalnetError, match="not the state of a hub"):
        HubServer(HubSettings(state_dir=tmp_path))


def test_landing_page_says_what_it_is(hub: HubServer) -> None:
    assert "development and tests" in httpx2.get(hub.endpoint).text


def test_fault_script_plays_as_often_as_told_and_then_stops(hub: HubServer) -> None:
    hub.faults.add("GET", "^/$", answer(503), times=2)
    hub.faults.add("GET", "^/$", cut(5))
    assert [httpx2.get(hub.endpoint).status_code for _ in range(2)] == [503, 503]
    with pytest.raises(httpx2.RemoteProtocolError):
        httpx2.get(hub.endpoint)
    assert httpx2.get(hub.endpoint).status_code == 200


@pytest.mark.slow
def test_hf_command_uploads_and_downloads(
    alice: Owner, run_hf: Callable[..., str], data_file: Path, tmp_path: Path
) -> None:
    assert alice.name in run_hf("auth", "whoami", token=alice.token)
    run_hf("upload", alice.repo, str(data_file), "data.jsonl", "--repo-type", "dataset", token=alice.token)
    run_hf(
        "download",
        alice.repo,
        "--repo-type",
        "dataset",
        "--local-dir",
        str(tmp_path / "d"),
        token=alice.token,
    )
    assert (tmp_path / "d" / "data.jsonl").read_bytes() == data_file.read_bytes()
