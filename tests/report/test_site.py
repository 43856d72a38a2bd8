"""A subnet's static page: its content, its safety, and that it is written atomically."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from flockoff.report import report_numbers, write_report
from flockoff.report.published import MAX_BYTES, PublishedReport, read_report
from flockoff.report.site import render_site, write_site
from flockoff.standings import Standings, standings
from tests.report.test_report_page import HOSTILE, Texts
from tests.support.grown_ledger import NETUID, NOW, RULES, grow
from tests.support.subnets import snapshot_of
from tests.support.views import large_view, view_of
from tests.support.web import web_server

OURS = "c0ffee" * 10
NUMBERS = {
    "netuid": 1,
    "validator": "5V000" + "v" * 43,
    "epoch": 99_540,
    "rules": OURS,
    "base": 2.5,
    "madeAt": 1_800_000_000.0,
    "miners": [
        {"hotkey": "5M001" + "m" * 43, "standing": "eligible", "loss": 1.25, "score": 0.5, "weight": 0.25,
         "turns": [[99_000, "eligible", None, 0, 1.25]]},
        {"hotkey": "5M002" + "m" * 43, "standing": "at_fault", "loss": None,
         "turns": [[99_000, "at_fault", "near_duplicate", 0, None]]},
    ],
}  # fmt: skip


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    with web_server(answer) as port:
        yield f"http://127.0.0.1:{port}/"


def sending(body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def large(miners: int = 40, validators: int = 3) -> Standings:
    return standings(large_view(miners, validators, hostile=HOSTILE), "f127")


def told(page: str) -> str:
    return " ".join(" ".join(Texts(page).texts).split())


def test_site_shows_miners_validators_and_burn_and_asks_for_nothing() -> None:
    page = render_site(large(), [], OURS)
    elements = Texts(page).elements
    links = [attributes["href"] for name, attributes in elements if name == "a"]
    assert "https://huggingface.co/datasets/ann/data/tree/" in " ".join(link or "" for link in links)
    assert not [attributes for _, attributes in elements if "src" in attributes or "style" in attributes]
    words = told(page)
    assert "burn" in words and "does not count" in words and "by the pool's price" in words
    assert (
        sum(attributes.get("id", "") not in ("", None) and name == "tr" for name, attributes in elements)
        == 41
    )


def test_site_shows_hostile_texts_as_text() -> None:
    hostile = PublishedReport("<script>x</script>", problem="<img src=x onerror=alert(1)>")
    page = render_site(large(), [hostile], OURS)
    names = [name for name, _ in Texts(page).elements]
    assert "img" not in names and names.count("script") == 4  # its data and its own three
    assert "{{ 7 * 7 }}" in told(page) and "\x1b" not in page and "\u2028" not in page


def test_site_of_an_empty_subnet_says_so_and_of_a_full_one_keeps_its_size(tmp_path: Path) -> None:
    empty = told(render_site(standings(view_of(snapshot_of((), owner=False)), "f127"), [], OURS))
    assert "Nobody has committed a dataset" in empty and "No weights are on chain." in empty
    page, numbers = write_site(large(256, 64), [], OURS, tmp_path / "new")
    assert page.stat().st_size < 700_000
    assert len(json.loads(numbers.read_text())["miners"]) == 257
    assert [path.name for path in page.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("packed", [False, True], ids=["json", "page"])
def test_published_report_is_read_from_its_page_or_its_numbers(packed: bool) -> None:
    text = json.dumps(NUMBERS)
    if packed:
        text = f'<html><script type="application/json" id="data">{text}</script><script>1</script>'
    with serving(sending(text.encode())) as url:
        report = read_report(url.replace("//", "//ann:secret-password@"))
    assert report.problem is None and "secret" not in report.source
    assert report.miners["5M001" + "m" * 43].loss == 1.25
    assert report.miners["5M002" + "m" * 43].reason == "near_duplicate"
    words = told(render_site(large(), [report], OURS))
    assert "1.2500 eligible" in words and "near duplicate" in words and "c0ffeec0" in words


@pytest.mark.parametrize(
    ("changed", "marked"),
    [
        ({}, set()),
        ({"epoch": 98_000}, {"out of date"}),
        ({"rules": "d" * 60}, {"other rules"}),
        ({"netuid": 7, "rules": None}, {"of subnet 7"}),
    ],
)
def test_published_report_that_cannot_be_compared_is_marked(
    changed: dict[str, object], marked: set[str], tmp_path: Path
) -> None:
    file = tmp_path / "numbers.json"
    file.write_text(json.dumps(NUMBERS | changed), encoding="utf-8")
    said = told(render_site(large(), [read_report(str(file))], OURS))
    assert {mark for mark in ("out of date", "other rules", "of subnet 7") if mark in said} == marked


def test_published_report_is_what_a_validators_own_page_says(tmp_path: Path) -> None:
    ledger, page = tmp_path / "ledger.sqlite", tmp_path / "index.html"
    grow(ledger, miners=8, epochs=2)
    write_report(ledger, page, RULES, now=NOW)
    report = read_report(str(page))
    numbers = report_numbers(ledger, RULES)
    assert (report.problem, report.netuid, report.epoch) == (None, NETUID, numbers["epoch"])
    losses = {each["hotkey"]: each["loss"] for each in numbers["miners"]}
    assert {hotkey: miner.loss for hotkey, miner in report.miners.items()} == losses
    assert {miner.epoch for miner in report.miners.values()} - {None} != set()


@pytest.mark.parametrize(
    ("body", "headers", "problem"),
    [
        (b"[" * 200_000, {}, "neither a report"),
        (b"\xff\xfe", {}, "neither a report"),
        (b'{"miners": 3}', {}, "neither a report"),
        (b"", {"Content_Encoding": "gzip"}, "sends compressed content"),
        (b" " * (MAX_BYTES + 1), {}, "larger than"),
    ],
)
def test_published_report_that_is_none_is_a_sentence(
    body: bytes, headers: dict[str, str], problem: str
) -> None:
    with serving(sending(body, **headers)) as url:
        assert problem in (read_report(url).problem or "")


def test_published_report_of_wrong_types_leaves_them_out() -> None:
    wrong = {"netuid": "1", "validator": 5, "epoch": -1, "base": 1e400, "madeAt": True}
    miners = [7, {"hotkey": 3}, {"hotkey": "x\x1b", "standing": [], "loss": "1", "turns": [[1]]}]
    with serving(sending(json.dumps(wrong | {"miners": miners}).encode())) as url:
        report = read_report(url)
    assert (report.netuid, report.validator, report.epoch, report.base, report.made_at) == (None,) * 5
    [(hotkey, miner)] = report.miners.items()
    assert hotkey == "x\\x1b" and miner.loss is None and miner.standing == "no_turn"


def test_published_report_of_nobody_is_a_sentence(tmp_path: Path) -> None:
    assert "cannot be read" in (read_report(str(tmp_path / "none.json")).problem or "")
    with serving(lambda handler: handler.send_error(404)) as url:
        assert "answers 404" in (read_report(url).problem or "")
    assert "does not answer" in (read_report(url).problem or "")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("http://[::1/a-key", "does not answer (InvalidURL)"),
        ("https://", "does not answer (UnsupportedProtocol)"),
        ("a\0b", "neither a report"),
        ("/dev/zero", "larger than"),
    ],
)
def test_published_report_at_no_address_is_a_sentence_without_a_key(source: str, problem: str) -> None:
    report = read_report(source)
    assert problem in (report.problem or "") and "key" not in report.source


@pytest.mark.parametrize(
    ("name", "value"), [("SSL_CERT_FILE", "/nowhere"), ("ALL_PROXY", "socks://ann:secret@127.0.0.1:1")]
)
def test_published_report_that_the_environment_keeps_out_of_reach_names_why(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    problem = read_report("http://127.0.0.1:1/").problem or ""
    assert problem.startswith("The environment's settings (") and "allow no connection" in problem
    assert name in problem and "secret" not in problem
