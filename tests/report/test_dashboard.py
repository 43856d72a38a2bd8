"""The report over HTTP: on this machine only, before and after there is a ledger."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from flockoff.errors import SetupError
from flockoff.ledger import Ledger
from flockoff.report import dashboard, kept_fresh
from tests.support.free_port import free_port
from tests.support.grown_ledger import NETUID, RULES, grow


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A dashboard's, on a ledger that may be made later."""
    port = free_port()
    with dashboard(tmp_path / "ledger.sqlite", port, RULES):
        yield port


def ask(port: int, path: str = "/", host: str = "127.0.0.1") -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def test_dashboard_without_a_ledger_says_so_and_shows_it_once_it_is_there(port: int, tmp_path: Path) -> None:
    status, told, _ = ask(port)
    assert status == 503 and "ledger.sqlite" in told
    grow(tmp_path / "ledger.sqlite", miners=4, epochs=2)
    status, told, headers = ask(port)
    assert status == 200 and "Leaderboard" in told
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_dashboard_asked_by_a_foreign_name_refuses(port: int, tmp_path: Path, host: str) -> None:
    grow(tmp_path / "ledger.sqlite", miners=4, epochs=2)
    status, told, _ = ask(port, host=host)
    assert status == 421 and "Leaderboard" not in told


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:1"])
def test_dashboard_through_a_tunnel_answers(port: int, tmp_path: Path, host: str) -> None:
    grow(tmp_path / "ledger.sqlite", miners=4, epochs=2)
    assert ask(port, "/live.json", host)[0] == 200


def test_dashboard_has_nothing_else(port: int) -> None:
    assert ask(port, "/../../etc/passwd")[0] == 404


def test_dashboard_on_a_port_that_is_taken_is_refused(port: int, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="--dashboard"), dashboard(tmp_path / "other", port, RULES):
        pass


def test_report_that_cannot_be_kept_fresh_is_a_line_in_the_log_and_nothing_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, folder = tmp_path / "ledger.sqlite", tmp_path / "report"
    Ledger.open(path, netuid=NETUID, competition=RULES.id, hotkey="5Validator").close()
    folder.write_text("a file where the folder should be")
    with kept_fresh(path, folder, RULES):
        pass
    [record] = [each for each in caplog.records if each.name == "flockoff.report.files"]
    assert "The report is not up to date" in record.getMessage()
    assert str(folder) in record.getMessage()
