"""The hub double's named faults: that each does what its name says, seen with plain HTTP."""

import math
import time
from inspect import signature

import httpx2
import pytest

from flockoff.errors import LocalnetError, UsageError
from flockoff.localnet.hub import FAULTS, HubServer, HubSettings, HubSwitches
from tests.support.hub_users import Owner


def file_url(hub: HubServer, owner: Owner, commit: str) -> str:
    return f"{hub.endpoint}/datasets/{owner.repo}/resolve/{commit}/data.jsonl"


def test_faults_are_the_switches_and_name_their_arguments() -> None:
    switches = {name for name in vars(HubSwitches) if not name.startswith("_")} - {"inject"}
    assert {name.replace("-", "_") for name in FAULTS} == switches
    for name, text in FAULTS.items():
        parameters = signature(getattr(HubSwitches, name.replace("-", "_"))).parameters
        assert [key for key in parameters if key != "self" and f"{key}=" not in text] == []


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("nothing", {}, "no fault 'nothing'"),
        ("error", {"statsu": "500"}, "statsu"),
        ("error", {"status": "bad"}, "bad"),
        ("error", {"path": "("}, "hub.error"),
        ("delete-repo", {}, "repo is missing"),
        ("huge", {"lfs": "maybe"}, "neither yes nor no"),
    ],
)
def test_inject_wrong_words_are_a_usage_error(
    hub: HubServer, name: str, arguments: dict[str, str], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem) as error:
        hub.switches.inject(name, arguments)
    assert name == "nothing" or FAULTS[name] in error.value.remedy


def test_inject_unknown_repo_is_a_localnet_error(hub: HubServer) -> None:
    with pytest.raises(LocalnetError, match="no dataset repo no/one"):
        hub.switches.inject("make-private", {"repo": "no/one"})


@pytest.mark.slow
def test_inject_answers_the_next_requests_and_heals(hub: HubServer) -> None:
    said = hub.switches.inject("rate-limit", {"seconds": "7", "times": "2", "path": "^/$"})
    assert said == "hub: 429 with Retry-After 7 for the next 2 requests to ^/$"
    first, other = httpx2.get(hub.endpoint), httpx2.post(f"{hub.endpoint}/api/validate-yaml")
    assert (first.status_code, first.headers["retry-after"], other.status_code) == (429, "7", 200)
    hub.switches.inject("error", {"status": "503", "times": "inf"})
    assert [httpx2.get(hub.endpoint).status_code for _ in range(3)] == [429, 503, 503]
    assert hub.switches.inject("heal", {}) == "hub: no faults"
    assert httpx2.get(hub.endpoint).status_code == 200


def test_switches_spoil_what_is_downloaded(hub: HubServer, alice: Owner) -> None:
    url = file_url(hub, alice, alice.upload(b"abc"))
    hub.switches.corrupt()
    assert httpx2.get(url).content == b"`bc"
    hub.switches.cut(after=2)
    with pytest.raises(httpx2.RemoteProtocolError):
        httpx2.get(url)
    hub.switches.content_gone()
    assert httpx2.get(url).status_code == 404
    hub.switches.heal()
    assert httpx2.get(url).content == b"abc"


def test_switches_slow_the_answer(hub: HubServer, alice: Owner) -> None:
    url = file_url(hub, alice, alice.upload(b"abc"))
    for name, arguments in (("drip", {"piece": "1", "seconds": "0.15"}), ("silence", {"seconds": "0.3"})):
        hub.switches.inject(name, arguments)
        begun = time.monotonic()
        assert httpx2.get(url).content == b"abc"
        assert time.monotonic() - begun >= 0.3


def test_redirect_leads_elsewhere_or_in_a_circle(hub: HubServer) -> None:
    hub.switches.redirect(to="http://127.0.0.1:1", path="^/$")
    assert httpx2.get(f"{hub.endpoint}/?a=b").headers["location"] == "http://127.0.0.1:1/?a=b"
    hub.switches.redirect(times=math.inf, path="^/$")
    with pytest.raises(httpx2.TooManyRedirects):
        httpx2.get(hub.endpoint, follow_redirects=True)


@pytest.mark.parametrize("lfs", [True, False])
def test_huge_announces_what_is_not_there(hub: HubServer, alice: Owner, lfs: bool) -> None:
    commit = alice.upload(b"abc")
    hub.switches.huge(lfs=lfs)
    (info,) = alice.api.get_paths_info(alice.repo, "data.jsonl", revision=commit, repo_type="dataset")
    assert getattr(info, "size", 0) == 50_000_000_000
    assert (getattr(info, "lfs", None) is not None) == lfs


def test_repo_switches_change_what_others_see(hub: HubServer, alice: Owner, bob: Owner) -> None:
    commit = alice.upload(b"abc")
    url = file_url(hub, alice, commit)
    hub.switches.move_branch(repo=alice.repo)
    assert alice.api.dataset_info(alice.repo).sha != commit
    assert httpx2.get(url).content == b"abc"
    again = alice.upload(b"abc")
    hub.switches.move_branch(repo=alice.repo, forget=True)
    forgotten = httpx2.get(file_url(hub, alice, again))
    assert (forgotten.status_code, forgotten.headers["x-error-code"]) == (404, "RevisionNotFound")
    hub.switches.make_private(repo=alice.repo)
    assert httpx2.get(url).headers["x-error-code"] == "RepoNotFound"
    hub.switches.delete_repo(repo=alice.repo)
    assert not alice.api.repo_exists(alice.repo, repo_type="dataset")


@pytest.mark.slow
def test_refuse_closes_the_port_and_opens_it_again(hub: HubServer) -> None:
    hub.switches.refuse(seconds=60)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(hub.endpoint)
    hub.switches.refuse(seconds=0.3)
    for _ in range(1000):
        try:
            assert httpx2.get(hub.endpoint).status_code == 200
            break
        except httpx2.ConnectError:
            time.sleep(0.1)
    else:
        pytest.fail("the hub does not listen again")
    hub.switches.refuse(seconds=60)
    hub.switches.heal()
    assert httpx2.get(hub.endpoint).status_code == 200


def test_refuse_then_stop_frees_the_port(hub: HubServer, alice: Owner) -> None:
    settings = HubSettings(state_dir=hub.settings.state_dir.parent / "other")
    with HubServer(settings) as server:
        endpoint = server.endpoint
        server.refuse(60)
    with pytest.raises(LocalnetError):
        server.refuse(1)
    port = int(endpoint.rpartition(":")[2])
    with HubServer(HubSettings(state_dir=settings.state_dir, port=port)) as again:
        assert again.endpoint == endpoint
