"""Newer releases: checked for only on request, and never in the way."""

import json
import logging
import threading

import pytest

from flockoff.updates import newer_release, updates_checked
from tests.report.test_site import sending, serving


@pytest.mark.parametrize(
    ("told", "newer"),
    [
        ({"tag_name": "v0.2.0"}, "v0.2.0"),
        ({"tag_name": "0.10"}, "0.10"),
        ({"tag_name": "v0.1.0"}, None),
        ({"tag_name": "v0.0.9"}, None),
        ({"tag_name": "nightly"}, None),
        ({"tag_name": 7}, None),
        ([], None),
    ],
)
def test_newer_release_is_one_with_a_higher_number(told: object, newer: str | None) -> None:
    with serving(sending(json.dumps(told).encode())) as url:
        assert newer_release(url, than="0.1.0") == newer


def test_newer_release_that_nobody_knows_of_is_none() -> None:
    with serving(lambda handler: handler.send_error(403)) as url:
        assert newer_release(url) is None
    assert newer_release(url) is None
    with serving(sending(b" " * 2**21)) as url:
        assert newer_release(url) is None


def test_updates_are_asked_for_only_where_that_is_wished(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flockoff")
    asked = threading.Event()
    answer = sending(b'{"tag_name": "v99.0.0"}')

    def note(handler: object) -> None:
        asked.set()
        answer(handler)  # type: ignore[arg-type]

    with serving(note) as url:
        with updates_checked(False, url):
            pass
        assert not asked.is_set()
        with updates_checked(True, url):
            assert asked.wait(300)
            for thread in threading.enumerate():
                while thread.name == "updates" and thread.is_alive() and "v99.0.0" not in caplog.text:
                    thread.join(0.01)
    assert "Release v99.0.0 is out" in caplog.text
