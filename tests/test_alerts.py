"""Alerts by Apprise, to a real server on this machine."""

import html
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from flockoff.alerts import Alerts, alerting, check_alerts, kind_of
from flockoff.errors import LedgerError, UsageError
from flockoff.logs import event
from flockoff.settings import alert_secrets
from tests.support.post import Post, running_post

log = logging.getLogger("flockoff.test")


@pytest.fixture
def post() -> Iterator[Post]:
    with running_post() as found:
        yield found


def alerts(post: Post, tmp_path: Path) -> Alerts:
    return Alerts((post.url,), tmp_path / "alerts.json", name="validator on subnet 1", pause=0.0, end=300.0)


def test_alert_arrives_once_across_restarts_and_again_after_it_was_well(post: Post, tmp_path: Path) -> None:
    first = alerts(post, tmp_path)
    for _ in range(3):
        first.raise_("permit", "no permit", "The chain takes no weights.")
    first.close()
    assert post.told[0]["message"] == "The chain takes no weights."
    second = alerts(post, tmp_path)
    second.raise_("permit", "no permit", "The chain takes no weights.")
    second.clear("permit")
    second.clear("permit")
    second.raise_("permit", "no permit", "The chain takes no weights.")
    second.close()
    assert [title.partition(": ")[2].partition(" after")[0] for title in post.titles] == [
        "no permit",
        "permit: well again",
        "no permit",
    ]


def test_alert_is_tried_again_and_what_never_arrives_is_one_line_without_the_address(
    post: Post, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    post.refuse = 2
    one = alerts(post, tmp_path)
    one.raise_("disk", "the disk is full", "0.1 GB are free.")
    one.close()
    assert len(post.told) == 1 and caplog.text == ""
    post.refuse = 3
    other = alerts(post, tmp_path)
    other.raise_("ledger", "the ledger is damaged", "It is.")
    other.close()
    assert len(post.told) == 1
    [line] = [record.getMessage() for record in caplog.records]
    assert line == (
        "An alert did not arrive by json: the ledger is damaged. This is not said again until one does."
    )
    last = alerts(post, tmp_path)  # it is not taken for sent
    last.raise_("ledger", "the ledger is damaged", "It is.")
    last.close()
    assert len(post.told) == 2


def test_receiver_that_stays_away_is_told_of_once_and_no_pause_delays_the_end(
    post: Post, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    post.refuse = 7
    one = Alerts((post.url,), tmp_path / "alerts.json", name="v", pause=3000.0, end=300.0)
    for problem in ("permit", "ledger", "disk"):
        one.raise_(problem, problem, "It is.")
    one.close()
    assert [record.getMessage()[:36] for record in caplog.records] == ["An alert did not arrive by json: per"]
    assert post.titles == ["v: disk"]  # at the eighth try


def test_alert_is_text_also_where_the_service_takes_html(post: Post, tmp_path: Path) -> None:
    one = Alerts((f"{post.url}?format=html",), tmp_path / "alerts.json", name="v", pause=0.0, end=300.0)
    one.raise_("disk", "the disk is full", "<a href='http://evil'>0 & 1</a> [x](http://evil)")
    one.close()
    message = post.told[0]["message"]
    assert "&lt;a" in message and "<a" not in message
    shown = html.unescape(message).replace("\xa0", " ")
    assert shown == "<a href='http://evil'>0 & 1</a> [x] (http://evil)"


def test_alerts_that_do_not_get_through_hold_nobody_up(
    post: Post, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    post.gate.clear()
    one = alerts(post, tmp_path)
    for _ in range(300):  # more than find room
        one.raise_("permit", "no permit", "The chain takes no weights.")
    post.gate.set()
    one.close()
    assert len(post.told) == 1
    assert [r.getMessage() for r in caplog.records if "not getting through" in r.getMessage()] != []


def test_alerting_reads_the_log_and_hides_secrets(post: Post, tmp_path: Path) -> None:
    logging.getLogger("flockoff").setLevel(logging.INFO)
    with alerting((post.url,), tmp_path, name="v", secrets={"hf_topsecret"}, pause=0.0, end=300.0):
        log.info("begun", extra=event("epoch_begun", epoch=1))
        log.error("WEIGHTS NOT SET: trying again", extra=event("weights_not_set", fault="chain", blocks=2))
        log.error("WEIGHTS NOT SET: hf_topsecret", extra=event("weights_not_set", epoch=1))
        log.error("@everyone\x1b[2J", extra=event("disk", fault="setup"))
        verdict = {"standing": "not_evaluated", "reason": "evaluation"}
        log.warning("uid 3: the worker died", extra=event("verdict", **verdict))
        log.info("closed", extra=event("epoch_closed", epoch=1))  # it had the worker's fault
        log.warning("slow", extra=event("fault", fault="chain_transient", tries=2))
        log.warning("gone", extra=event("fault", fault="chain_transient", tries=8))
        log.info("set", extra=event("weights_set", epoch=2))
        log.info("closed", extra=event("epoch_closed", epoch=2))
    assert [title.partition(": ")[2].partition(" after")[0] for title in post.titles] == [
        "WEIGHTS NOT SET",
        "the disk is full",
        "a dataset could not be evaluated",
        "the chain does not answer",
        "weights: well again",
        "chain: well again",
        "disk: well again",
        "worker: well again",
    ]
    assert post.told[1]["message"] == "@ everyone\\x1b[2J"
    assert post.told[0]["message"] == "WEIGHTS NOT SET: ***"


def test_alerting_tells_what_ends_the_validator(post: Post, tmp_path: Path) -> None:
    error = LedgerError("The ledger is damaged.", remedy="Restore hf_topsecret.")
    with (
        pytest.raises(LedgerError),
        alerting((post.url,), tmp_path, name="v", secrets={"hf_topsecret"}, end=300.0),
    ):
        raise error
    assert post.titles == ["v: the validator has ended"]
    assert post.told[0]["message"] == "The ledger is damaged. Restore ***."


@pytest.mark.parametrize(
    "url", ["nonsense://topsecret", "topsecret", "", "discord://", "jsons://[::1/topsecret"]
)
def test_alert_address_that_cannot_be_used_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_alerts([url])
    assert "topsecret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "secret", "shown"),
    [
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "123456789:abcdefg_hijklmnop", "telegram"),
        ("discord://webhook_id_1/webhook_token_1", "webhook_id_1", "discord"),
        ("mailto://ann:hunter%40hunter@example.com", "hunter@hunter", "example.com"),
        ("json://127.0.0.1:80/private-path", "private-path", "127.0.0.1"),
        ("jsons://[::1/private-path", "jsons://[::1/private-path", "jsons://"),
        ("discord://", "", "discord://"),
    ],
)
def test_alert_secrets_are_all_that_an_address_holds_but_a_machines_name(
    url: str, secret: str, shown: str
) -> None:
    secrets = alert_secrets([url])
    assert {secret} - {""} <= secrets and shown not in secrets and (url in secrets) is (url != shown)
    assert kind_of(url) == url.partition(":")[0]
