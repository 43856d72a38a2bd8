"""Every hub fault under every client operation: the kind of error, the bound, and the recovery."""

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flockoff.errors import Fault, FlockoffError, HubTransient, MinerFault, Reason, SetupError
from flockoff.hub import HubClient
from flockoff.localnet.hub import HubServer, HubSettings
from flockoff.localnet.hub.script import answer
from tests.support.hub_operations import CONTENT, OPERATIONS, Ground, prepare_ground
from tests.support.hub_users import HASTE, Owner

FEW = replace(HASTE, tries=2)
BRIEF = replace(FEW, timeout=0.05, grace=0.1)  # for faults that are noticed by the time they take
SLOW = ("drip", "silence")
LIMIT = 300.0  # seconds, however busy the machine: nobody waits the hour that the hub asks for

# Of all requests, whatever they are for.
FAULTS_OF_ALL: dict[str, dict[str, str]] = {
    "rate-limit": {"seconds": "3600"},
    "error": {"status": "502"},
    "drip": {"piece": "1", "seconds": "0.1"},
    "cut": {"after": "1"},
    "silence": {"seconds": "2"},
    "redirect": {"path": ""},
}


def client_of(hub: HubServer, owner: Owner, fault: str) -> HubClient:
    return HubClient(owner.token, hub.endpoint, patience=BRIEF if fault in SLOW else FEW)


def outcome(client: HubClient, name: str, ground: Ground) -> FlockoffError:
    begun = time.monotonic()
    with pytest.raises(FlockoffError) as error:
        OPERATIONS[name](client, ground)
    assert time.monotonic() - begun < LIMIT
    return error.value


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("fault", FAULTS_OF_ALL)
def test_fault_of_all_requests_is_transient_and_over_when_it_is_over(
    hub: HubServer, ground: Ground, name: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="flockoff")
    hub.switches.inject(fault, FAULTS_OF_ALL[fault] | {"times": "inf"})
    error = outcome(client_of(hub, ground.owner, fault), name, ground)
    assert type(error) is HubTransient
    if fault == "rate-limit":
        assert error.retry_after == 3600 and caplog.messages == []
    else:
        (said,) = caplog.messages
        assert said.startswith("Could not ") and "Trying again in 0." in said
    hub.switches.heal()
    OPERATIONS[name](ground.owner.client, ground)


@pytest.mark.parametrize("status", ["200", "429", "502", "503", "504"])
def test_web_page_instead_of_an_answer_is_transient_and_not_in_the_message(
    hub: HubServer, ground: Ground, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy's page, or a network's sign-in, which comes with status 200."""
    caplog.set_level("INFO", logger="flockoff")
    page = b"<!DOCTYPE html>\n<html><head><title>Bad day</title></head><body>" + b"<p>Sorry.</p>" * 99
    behaviour = answer(int(status), page, {"Content-Type": "text/html; charset=utf-8"})
    hub.faults.add("*", "", behaviour, times=math.inf)
    for name in OPERATIONS:
        error = outcome(client_of(hub, ground.owner, ""), name, ground)
        assert type(error) is HubTransient
        for said in (str(error), caplog.text):
            assert "Sorry" not in said
            assert "<" not in said
        assert status in str(error) or "HF_ENDPOINT" in error.remedy
    hub.faults.clear()


def test_refused_connection_is_transient_and_over_when_it_is_over(hub: HubServer, ground: Ground) -> None:
    client = client_of(hub, ground.owner, "refuse")
    hub.switches.refuse(seconds=60)
    for name in OPERATIONS:
        error = outcome(client, name, ground)
        assert type(error) is HubTransient and "network" in error.remedy
    hub.switches.heal()
    for operation in OPERATIONS.values():
        operation(ground.owner.client, ground)


def test_api_redirected_elsewhere_is_not_followed(hub: HubServer, ground: Ground, tmp_path: Path) -> None:
    client = client_of(hub, ground.owner, "redirect")
    with HubServer(HubSettings(state_dir=tmp_path / "elsewhere")) as elsewhere:
        hub.switches.redirect(to=elsewhere.endpoint, times=math.inf, path="")
        for name in OPERATIONS:
            error = outcome(client, name, ground)
            assert type(error) is HubTransient and "HF_ENDPOINT" in error.remedy
        assert elsewhere.requests == ()


DOWNLOADS = ("download", "fetch_base_model", "fetch_evaluation_set")
TRANSIENT = (HubTransient,) * 3
TOO_LARGE = (Reason.TOO_LARGE, (SetupError, HubTransient), SetupError)
GONE = (Reason.REPO_MISSING, None, Fault)


@pytest.mark.parametrize(
    ("fault", "arguments", "expected"),
    [
        ("corrupt", {"times": "inf"}, TRANSIENT),
        ("cut", {"times": "inf", "path": "/resolve/"}, TRANSIENT),
        ("drip", {"times": "inf", "path": "/resolve/", "piece": "1", "seconds": "0.1"}, TRANSIENT),
        ("redirect", {"times": "inf"}, TRANSIENT),
        ("redirect", {"times": "inf", "to": "http://127.0.0.1:1"}, TRANSIENT),
        ("content-gone", {}, TRANSIENT),  # nothing shows yet that the hub has any content
        ("huge", {}, TOO_LARGE),
        ("huge", {"lfs": "yes"}, TOO_LARGE),
        ("huge", {"size": "3"}, TRANSIENT),
        ("huge", {"size": "300"}, TRANSIENT),
        ("delete-repo", {"repo": "OWN"}, GONE),
        ("make-private", {"repo": "OWN"}, GONE),
        ("move-branch", {"repo": "OWN"}, (None, None, None)),
        ("move-branch", {"repo": "OWN", "forget": "yes"}, (Reason.COMMIT_MISSING, None, Fault)),
    ],
)
def test_fault_of_downloads_is_the_miners_only_where_it_is_its_doing(
    hub: HubServer,
    alice: Owner,
    bob: Owner,
    tmp_path: Path,
    fault: str,
    arguments: dict[str, str],
    expected: tuple[Reason | type[Fault] | tuple[type[Fault], ...] | None, ...],
) -> None:
    ground = prepare_ground(alice, tmp_path)
    told = {key: ground.repo if value == "OWN" else value for key, value in arguments.items()}
    hub.switches.inject(fault, told)
    client = client_of(hub, bob, fault)
    for name, kind in zip(DOWNLOADS, expected, strict=True):
        if kind is None:
            OPERATIONS[name](client, ground)
            continue
        error = outcome(client, name, ground)
        if isinstance(kind, Reason):
            assert isinstance(error, MinerFault) and error.reason is kind, name
        else:
            assert isinstance(error, kind), name
    assert [path for path in ground.directory.glob("*.jsonl") if path.read_bytes() != CONTENT] == []


def test_commit_whose_answer_is_lost_is_found_again_by_a_new_client(hub: HubServer, ground: Ground) -> None:
    hasty = HubClient(ground.owner.token, hub.endpoint, patience=replace(HASTE, tries=1))
    file = ground.directory.with_name("new.jsonl")
    file.write_bytes(b"new")
    hub.switches.cut(path="/commit/")
    before = len(hub.requests)
    with pytest.raises(HubTransient):
        hasty.upload(ground.repo, file)
    made = ground.owner.client.upload(ground.repo, file)
    sent = [path for method, path in hub.requests[before:] if "/commit/" in path]
    assert (made.changed, len(sent)) == (False, 1)
    assert ground.owner.client.holds(ground.repo, file)
