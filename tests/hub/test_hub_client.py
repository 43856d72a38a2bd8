"""The hub adapter's miner side, against the double over real HTTP."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flockoff.errors import HubError, HubFatal, HubTransient, HubUnauthorized, SetupError
from flockoff.hub import HubClient
from flockoff.hub.files import digest_of
from flockoff.hub.rights import can_write, writable_owners
from flockoff.localnet.hub import HubServer, altered, answer, cut
from flockoff.localnet.hub.script import Behaviour
from flockoff.logs import TRACE
from flockoff.ports import Hub
from flockoff.records import HubAccount, RepoState
from tests.support.hub_users import HASTE, Owner


def received(bodies: list[bytes]) -> Behaviour:
    """Take the request's body into ``bodies`` and answer 200."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        bodies.append(await request.body())
        await Response()(scope, receive, send)

    return lambda _: app


def commits_sent(hub: HubServer, repo: str) -> int:
    return hub.requests.count(("POST", f"/api/datasets/{repo}/commit/main"))


def test_client_is_a_hub(alice: Owner) -> None:
    hub: Hub = alice.client
    assert hub.account().name == alice.name


def test_account_tells_name_and_right(hub: HubServer, alice: Owner) -> None:
    reader = HubClient(hub.add_user(alice.name, role="read"), hub.endpoint)
    assert alice.client.account() == HubAccount(alice.name, True, frozenset({alice.name}))
    assert reader.account() == HubAccount(alice.name, False, frozenset({alice.name}))


@pytest.mark.parametrize("token", [None, "hf_wrong"])
def test_account_without_good_token_is_unauthorized(hub: HubServer, token: str | None) -> None:
    with pytest.raises(HubUnauthorized) as error:
        HubClient(token, hub.endpoint).account()
    assert "https://huggingface.co/settings/tokens" in error.value.remedy
    assert "hf_wrong" not in str(error.value)


def test_account_on_a_bad_day_is_asked_again(hub: HubServer, alice: Owner) -> None:
    hub.faults.add("GET", "whoami", answer(503), times=2)
    assert alice.client.account().name == alice.name


def test_account_at_closed_port_is_transient() -> None:
    with pytest.raises(HubTransient) as error:
        HubClient("hf_x", "http://127.0.0.1:9", patience=HASTE).account()
    assert "network" in error.value.remedy


def test_account_from_what_is_no_hub_is_fatal(hub: HubServer, alice: Owner) -> None:
    hub.faults.add("GET", "whoami", answer(200, b"{}"))
    with pytest.raises(HubFatal):
        alice.client.account()


def test_import_is_cheap() -> None:
    code = "import flockoff.hub, sys; sys.exit(bool({'huggingface_hub', 'httpx2'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9", "ftp://127.0.0.1"])
def test_account_at_senseless_endpoint_is_a_setup_error(endpoint: str) -> None:
    with pytest.raises(SetupError) as error:
        HubClient("hf_x", endpoint, patience=HASTE).account()
    assert "HF_ENDPOINT" in error.value.remedy


FINE = {"role": "fineGrained", "fineGrained": {"scoped": [{"permissions": ["repo.content.read"]}]}}
FINE_WRITE = {
    "role": "fineGrained",
    "fineGrained": {"scoped": [{"permissions": []}, {"permissions": ["repo.content.read", "repo.write"]}]},
}


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({"accessToken": {"role": "write"}}, True),
        ({"accessToken": {"role": "read"}}, False),
        ({"accessToken": FINE}, False),
        ({"accessToken": FINE_WRITE}, True),
        ({"accessToken": {"role": "fineGrained"}}, False),
        ({"type": "oauth"}, True),
        (None, True),
    ],
)
def test_can_write_reads_roles_and_scopes(auth: Any, expected: bool) -> None:
    assert can_write({"name": "alice", "auth": auth}) is expected


def test_writable_owners_are_the_user_and_organisations_with_the_right() -> None:
    orgs = [{"name": "flock", "roleInOrg": "write"}, {"name": "other", "roleInOrg": "read"}, {"name": "old"}]
    assert writable_owners({"name": "alice", "orgs": orgs}) == {"alice", "flock", "old"}


def test_repo_state_is_none_for_missing_and_invisible(alice: Owner, bob: Owner) -> None:
    assert alice.client.repo_state(alice.repo) is None
    commit = alice.upload(b"x", private=True)
    assert alice.client.repo_state(alice.repo) == RepoState(alice.repo, private=True, head=commit)
    assert bob.client.repo_state(alice.repo) is None


def test_upload_creates_a_private_repo_and_pins_the_commit(alice: Owner, data_file: Path) -> None:
    made = alice.client.upload(alice.repo, data_file)
    assert made.changed
    assert alice.client.repo_state(alice.repo) == RepoState(alice.repo, private=True, head=made.commit)
    files = alice.api.list_repo_files(alice.repo, repo_type="dataset", revision=made.commit)
    assert "data.jsonl" in files


def test_upload_same_content_again_sends_nothing(hub: HubServer, alice: Owner, data_file: Path) -> None:
    first = alice.client.upload(alice.repo, data_file)
    again = alice.client.upload(alice.repo, data_file)
    assert (again.commit, again.changed) == (first.commit, False)
    assert commits_sent(hub, alice.repo) == 1


def test_upload_changed_content_makes_a_new_commit(alice: Owner, data_file: Path) -> None:
    first = alice.client.upload(alice.repo, data_file)
    data_file.write_bytes(b"other\n")
    second = alice.client.upload(alice.repo, data_file)
    assert second.changed and second.commit != first.commit


def test_upload_to_existing_public_repo_leaves_it_public(alice: Owner, data_file: Path) -> None:
    alice.upload(b"x", "README.txt")
    made = alice.client.upload(alice.repo, data_file)
    assert alice.client.repo_state(alice.repo) == RepoState(alice.repo, private=False, head=made.commit)


def test_upload_is_committed_under_the_name_that_the_hub_has(
    hub: HubServer, alice: Owner, data_file: Path
) -> None:
    first = alice.client.upload(alice.repo, data_file)
    renamed = alice.repo.upper()

    def name_it(body: bytes) -> bytes:
        return json.dumps(json.loads(body) | {"id": renamed}).encode()

    hub.faults.add("GET", f"/api/datasets/{alice.repo}", altered(name_it))
    again = alice.client.upload(alice.repo, data_file)
    assert (again.repo_id, again.commit, again.changed) == (renamed, first.commit, False)


@pytest.mark.parametrize(
    ("said", "kind", "remedy"),
    [
        ("Private repository storage limit reached, please upgrade", HubFatal, "Make room in the account"),
        ("You have exceeded your monthly included credits", HubFatal, "Make room in the account"),
        ("Your account has been suspended", HubFatal, "No token helps: ask the hub's support"),
        ("You don't have the rights to do that", HubUnauthorized, "whose role is write"),
    ],
)
def test_upload_that_the_hub_forbids_says_why(
    hub: HubServer, alice: Owner, data_file: Path, said: str, kind: type[HubError], remedy: str
) -> None:
    refusal = answer(403, json.dumps({"error": said}).encode(), {"content-type": "application/json"})
    hub.faults.add("POST", "/commit/main", refusal)
    with pytest.raises(kind) as caught:
        alice.client.upload(alice.repo, data_file)
    assert said in caught.value.message and remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("words", "seconds"), [("in about 1 hour", 3600), ("in 25 minutes", 1500), ("in an hour", 3600)]
)
def test_upload_over_the_hubs_hourly_limit_waits_as_long_as_the_hub_says(
    hub: HubServer, alice: Owner, data_file: Path, words: str, seconds: float
) -> None:
    said = (
        f"You have exceeded the rate limit for repository commits (128 per hour). Retry this action {words}."
    )
    hub.faults.add("POST", "/commit/main", answer(429, json.dumps({"error": said}).encode()))
    with pytest.raises(HubTransient, match="128 per hour") as caught:
        alice.client.upload(alice.repo, data_file)
    assert caught.value.retry_after == seconds


@pytest.mark.slow
def test_upload_of_30_megabytes_arrives(hub: HubServer, alice: Owner, tmp_path: Path) -> None:
    owner, anybody = HubClient(alice.token, hub.endpoint), HubClient(None, hub.endpoint)  # with time to spare
    big = tmp_path / "big.jsonl"
    big.write_bytes(bytes(range(256)) * 4096 * 30)
    made = owner.upload(alice.repo, big)
    owner.publish(alice.repo)
    back = anybody.download(alice.repo, made.commit, tmp_path / "d", max_bytes=1 << 26)
    assert back.read_bytes() == big.read_bytes()


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own upload
def test_upload_that_the_hub_wants_in_lfs_goes_there_and_not_to_xet(
    hub: HubServer, alice: Owner, data_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    digest = digest_of(data_file)
    head = alice.upload(b"x", "other.txt")
    stored: list[bytes] = []

    def as_lfs(body: bytes) -> bytes:
        files = [file | {"uploadMode": "lfs"} for file in json.loads(body)["files"]]
        return json.dumps({"files": files}).encode()

    upload = {
        "oid": digest.sha256,
        "size": digest.size,
        "actions": {"upload": {"href": f"{hub.endpoint}/put"}},
    }
    info = {"type": "file", "path": "data.jsonl", "size": digest.size, "oid": "0" * 40}
    lfs = {"lfs": {"oid": digest.sha256, "size": digest.size, "pointerSize": 134}}
    hub.faults.add("POST", "/preupload/", altered(as_lfs))
    hub.faults.add("POST", "/info/lfs/objects/batch", answer(200, json.dumps({"objects": [upload]}).encode()))
    hub.faults.add("PUT", "^/put$", received(stored))
    made = {"commitUrl": f"{hub.endpoint}/datasets/{alice.repo}/commit/{head}", "commitOid": head}
    hub.faults.add("POST", "/commit/", answer(200, json.dumps(made).encode()))
    hub.faults.add("POST", "/paths-info/", answer(200, b"[]"))
    hub.faults.add("POST", "/paths-info/", answer(200, json.dumps([info | lfs]).encode()))
    assert alice.client.upload(alice.repo, data_file).commit == head
    assert stored == [data_file.read_bytes()]
    assert "Xet" not in capfd.readouterr().err


def test_upload_whose_answer_was_lost_is_not_committed_twice(
    hub: HubServer, alice: Owner, data_file: Path
) -> None:
    hub.faults.add("POST", "/commit/main", cut(0))
    made = alice.client.upload(alice.repo, data_file)
    assert commits_sent(hub, alice.repo) == 1
    assert alice.client.repo_state(alice.repo) == RepoState(alice.repo, private=True, head=made.commit)


def test_upload_whose_create_was_lost_goes_on(hub: HubServer, alice: Owner, data_file: Path) -> None:
    hub.faults.add("POST", "/repos/create", cut(0))
    assert alice.client.upload(alice.repo, data_file).changed


def test_upload_to_repo_just_created_but_not_shown_yet_comes_through(
    hub: HubServer, alice: Owner, data_file: Path
) -> None:
    not_found = answer(404, headers={"X-Error-Code": "RepoNotFound"})
    hub.faults.add("GET", f"/api/datasets/{alice.repo}$", not_found, times=2)
    assert alice.client.upload(alice.repo, data_file).changed


def test_upload_to_repo_that_exists_unseen_is_unauthorized(
    hub: HubServer, alice: Owner, data_file: Path
) -> None:
    alice.upload(b"x", private=True)
    not_found = answer(404, headers={"X-Error-Code": "RepoNotFound"})
    hub.faults.add("GET", f"/api/datasets/{alice.repo}$", not_found, times=2)
    with pytest.raises(HubUnauthorized, match="does not see"):
        alice.client.upload(alice.repo, data_file)


@pytest.mark.parametrize("route", ["whoami", "/repos/create", "/preupload/", "/commit/", "/paths-info/"])
def test_upload_on_a_bad_day_comes_through(hub: HubServer, alice: Owner, data_file: Path, route: str) -> None:
    for method in ("GET", "POST"):
        hub.faults.add(method, route, answer(500))
        hub.faults.add(method, route, answer(429, headers={"Retry-After": "0"}))
    assert alice.client.upload(alice.repo, data_file).changed


def test_upload_refused_for_long_is_left_to_the_caller(hub: HubServer, alice: Owner, data_file: Path) -> None:
    hub.faults.add("POST", "/preupload/", answer(429, headers={"Retry-After": "3600"}))
    with pytest.raises(HubTransient) as error:
        alice.client.upload(alice.repo, data_file)
    assert error.value.retry_after == 3600


def test_upload_with_foreign_commit_in_between_is_repeated_on_top(
    hub: HubServer, alice: Owner, data_file: Path
) -> None:
    alice.upload(b"first", "other.txt")

    def meanwhile(body: bytes) -> bytes:
        alice.upload(b"second", "other.txt")
        return body

    hub.faults.add("POST", "/preupload/", altered(meanwhile))
    made = alice.client.upload(alice.repo, data_file)
    log = alice.api.list_repo_commits(alice.repo, repo_type="dataset")
    assert log[0].commit_id == made.commit and commits_sent(hub, alice.repo) == 4


def test_upload_whose_commit_holds_something_else_is_not_believed(
    hub: HubServer, alice: Owner, data_file: Path
) -> None:
    old = alice.upload(b"old")

    def lie(body: bytes) -> bytes:
        return json.dumps(json.loads(body) | {"commitOid": old}).encode()

    hub.faults.add("POST", "/commit/main", altered(lie))
    made = alice.client.upload(alice.repo, data_file)
    assert made.commit != old
    assert alice.client.repo_state(alice.repo) == RepoState(alice.repo, private=False, head=made.commit)


def test_upload_with_read_token_says_so_before_anything(
    hub: HubServer, alice: Owner, data_file: Path
) -> None:
    reader = HubClient(hub.add_user(alice.name, role="read"), hub.endpoint)
    before = len(hub.requests)
    with pytest.raises(HubUnauthorized, match="is read-only"):
        reader.upload(alice.repo, data_file)
    assert hub.requests[before:] == (("GET", "/api/whoami-v2"),)


def test_upload_to_repo_of_another_says_whose_it_is(alice: Owner, bob: Owner, data_file: Path) -> None:
    alice.upload(b"x")
    with pytest.raises(HubUnauthorized) as error:
        bob.client.upload(alice.repo, data_file)
    assert bob.name in str(error.value) and f"{bob.name}/data" in error.value.remedy


def test_publish_makes_public_once(hub: HubServer, alice: Owner, data_file: Path) -> None:
    alice.client.upload(alice.repo, data_file)
    alice.client.publish(alice.repo)
    alice.client.publish(alice.repo)
    state = alice.client.repo_state(alice.repo)
    assert state is not None and not state.private
    assert hub.requests.count(("PUT", f"/api/datasets/{alice.repo}/settings")) == 1


def test_publish_with_read_token_is_unauthorized(hub: HubServer, alice: Owner) -> None:
    alice.upload(b"x", private=True)
    reader = HubClient(hub.add_user(alice.name, role="read"), hub.endpoint)
    with pytest.raises(HubUnauthorized):
        reader.publish(alice.repo)


def test_token_is_never_shown(
    hub: HubServer, alice: Owner, data_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.faults.add("POST", "/commit/main", answer(503), times=3)
    with pytest.raises(HubTransient) as error:
        alice.client.upload(alice.repo, data_file)
    shown = [caplog.text, repr(alice.client), str(error.value), repr(error.value)]
    assert "Trying again" in caplog.text
    assert not any(alice.token in text for text in shown)


def test_client_traces_what_it_asks_the_hub(alice: Owner, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(TRACE, "flockoff"):
        alice.client.repo_state(alice.repo)
    assert f"hub: look up {alice.repo}" in caplog.messages
