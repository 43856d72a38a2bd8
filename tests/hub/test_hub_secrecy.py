"""What leaves this machine goes to the hub only, and what comes from outside names no file here."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Receive, Scope, Send

from flockoff.errors import FlockoffError, HubTransient, MinerFault
from flockoff.hub import HubClient
from flockoff.hub.files import digest_of
from flockoff.localnet.hub import HubServer, HubSettings, altered, answer
from flockoff.localnet.hub.script import Behaviour
from tests.support.examples import examples
from tests.support.hub_operations import OPERATIONS, Ground
from tests.support.hub_users import HASTE, Owner


def noted(headers: list[dict[bytes, bytes]]) -> Behaviour:
    """The real answer; records the request's headers in ``headers``."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def noting(scope: Scope, receive: Receive, send: Send) -> None:
            headers.append(dict(scope["headers"]))
            await app(scope, receive, send)

        return noting

    return wrap


def all_noted(server: HubServer) -> list[dict[bytes, bytes]]:
    headers: list[dict[bytes, bytes]] = []
    server.faults.add("*", "", noted(headers), times=math.inf)
    return headers


@pytest.mark.parametrize("name", OPERATIONS)
def test_token_goes_to_the_hub_and_nowhere_it_redirects_to(
    hub: HubServer, ground: Ground, tmp_path: Path, name: str
) -> None:
    client = HubClient(ground.owner.token, hub.endpoint, patience=replace(HASTE, tries=1))
    seen = all_noted(hub)
    OPERATIONS[name](client, ground)
    assert {headers[b"authorization"] for headers in seen} == {f"Bearer {ground.owner.token}".encode()}
    hub.faults.clear()
    again = replace(ground, directory=tmp_path / "again")
    with HubServer(HubSettings(state_dir=tmp_path / "elsewhere")) as elsewhere:
        seen = all_noted(elsewhere)
        for path in ("whoami", "/revision/", "/api/datasets/", "/api/models/", "/paths-info/", "/resolve/"):
            hub.faults.clear()
            hub.switches.redirect(to=elsewhere.endpoint, times=math.inf, path=path)
            try:
                OPERATIONS[name](client, again)
            except FlockoffError as error:
                assert ground.owner.token not in repr(error)
        assert all(b"authorization" not in headers for headers in seen)
        downloads = {path for _, path in elsewhere.requests}
        assert all("/resolve/" in path for path in downloads)


@pytest.mark.parametrize("route", ["/preupload/", "/commit/", "/repos/create", "/settings"])
def test_token_and_data_of_a_change_go_nowhere_it_is_redirected_to(
    hub: HubServer, alice: Owner, data_file: Path, tmp_path: Path, route: str
) -> None:
    def change() -> None:
        alice.client.upload(alice.repo, data_file)
        alice.client.publish(alice.repo)

    with HubServer(HubSettings(state_dir=tmp_path / "elsewhere")) as elsewhere:
        hub.switches.redirect(to=elsewhere.endpoint, times=math.inf, path=route)
        with pytest.raises(HubTransient, match="redirects to"):
            change()
        assert elsewhere.requests == ()
    hub.switches.heal()
    change()


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own upload
def test_token_is_not_sent_to_the_storage_that_lfs_names(
    hub: HubServer, alice: Owner, data_file: Path, tmp_path: Path
) -> None:
    alice.upload(b"x", "other.txt")
    digest = digest_of(data_file)

    def as_lfs(body: bytes) -> bytes:
        files = [file | {"uploadMode": "lfs"} for file in json.loads(body)["files"]]
        return json.dumps({"files": files}).encode()

    with HubServer(HubSettings(state_dir=tmp_path / "storage")) as storage:
        seen = all_noted(storage)
        upload = {"upload": {"href": f"{storage.endpoint}/put"}}
        objects = [{"oid": digest.sha256, "size": digest.size, "actions": upload}]
        hub.faults.add("POST", "/preupload/", altered(as_lfs))
        hub.faults.add("POST", "/objects/batch", answer(200, json.dumps({"objects": objects}).encode()))
        with pytest.raises(FlockoffError):  # the storage of this test takes nothing
            alice.client.upload(alice.repo, data_file)
        assert storage.requests == (("PUT", "/put"),)
    assert b"authorization" not in seen[0]


@pytest.mark.parametrize("target", ["http://hub.example/x", "ftp://hub.example/x", "file:///etc/passwd"])
def test_redirect_from_https_to_less_is_refused(target: str) -> None:
    from flockoff.hub.session import check_scheme

    check_scheme(httpx2.URL("https://hub.example/x"), httpx2.URL("https://cdn.example/x"))
    with pytest.raises(HubTransient, match="not safe"):
        check_scheme(httpx2.URL("https://hub.example/x"), httpx2.URL(target))


def test_download_asks_for_data_jsonl_only(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    alice.upload(b"evil", "data.jsonl.py")
    alice.upload(b"evil", "sub/data.jsonl")
    commit = alice.upload(b"good")
    before = len(hub.requests)
    anybody.download(alice.repo, commit, tmp_path, max_bytes=10)
    assert {path for _, path in hub.requests[before:]} == {
        f"/api/datasets/{alice.repo}/revision/{commit}",
        f"/api/datasets/{alice.repo}/paths-info/{commit}",
        f"/datasets/{alice.repo}/resolve/{commit}/data.jsonl",
    }


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "data.jsonl/../x", "other.txt", "C:\\evil"])
def test_download_of_a_file_that_the_hub_names_otherwise_is_not_made(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path, name: str
) -> None:
    commit = alice.upload(b"x")

    def renamed(body: bytes) -> bytes:
        return json.dumps([item | {"path": name} for item in json.loads(body)]).encode()

    hub.faults.add("POST", "/paths-info/", altered(renamed))
    with pytest.raises(MinerFault):
        anybody.download(alice.repo, commit, tmp_path / "in", max_bytes=10)
    assert list(tmp_path.rglob("*")) == []


@pytest.fixture
def make_download(hub: HubServer, tmp_path: Path) -> Callable[[str, str], None]:
    client = HubClient(None, hub.endpoint, patience=HASTE)

    def download(namespace: str, commit: str) -> None:
        client.download(namespace, commit, tmp_path / "in", max_bytes=10)

    return download


@settings(
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(namespace=st.text(max_size=60), commit=st.text(max_size=45))
@example("../..", "a" * 40)
@example("a/b", "main")
@example("a/b", "A" * 40)
@example("a/b", "a" * 40 + "\n")
@example("a/b", "a" * 39)
@example("a/b", "../" * 14)
@example("a/..", "a" * 40)
@example("a/b\0", "a" * 40)
@example("a/b?x=", "a" * 40)
@example("a/b%2f..", "a" * 40)
@example("ä/b", "a" * 40)
def test_download_of_odd_names_asks_nothing_and_writes_nothing(
    hub: HubServer,
    make_download: Callable[[str, str], None],
    tmp_path: Path,
    namespace: str,
    commit: str,
) -> None:
    before = len(hub.requests)
    with pytest.raises(MinerFault):
        make_download(namespace, commit)
    assert len(hub.requests) == before
    assert list(tmp_path.rglob("*")) == []
