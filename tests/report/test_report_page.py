"""The page's content, without a browser: verdicts and reasons, hostile texts, empty ledgers, sizes."""

import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.errors import Reason
from flockoff.ledger import Ledger
from flockoff.ledger.views import Timing
from flockoff.records import Commitment, Epoch, ModelId, Verdict, WeightsSet
from flockoff.report import report_numbers, write_report
from flockoff.report.data import lanes
from flockoff.report.facts import read_facts
from flockoff.report.page import embedded, render_page
from flockoff.report.words import spark, verdict_words
from tests.support.grown_ledger import NETUID, NOW, RULES, grow
from tests.support.ledger_records import begin, settlement

ECHARTS_SHA256 = "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028{{ 7 * 7 }}\x1b[31m"


class Texts(HTMLParser):
    """A page's elements with their attributes, and the texts outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, text: str) -> None:
        if not {"script", "style"} & set(self._inside):
            self.texts.append(text)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grown") / "ledger.sqlite"
    grow(path, miners=32, epochs=14, running=5)
    return path


def page_of(ledger_path: Path) -> str:
    with Ledger.look(ledger_path) as ledger:
        return render_page(read_facts(ledger, RULES, NOW + 60))


def test_page_has_a_reason_for_every_verdict(grown: Path) -> None:
    page = Texts(page_of(grown))
    with Ledger.look(grown) as ledger:
        facts = read_facts(ledger, RULES, NOW + 60)
    assert facts.epoch is not None and facts.running is not None
    assert len(facts.board) == 32
    told = " ".join(" ".join(page.texts).split())
    for entry in facts.board:
        if entry.standing == "at_fault":
            assert " ".join(verdict_words(entry, facts)[1].split())[:60] in told
            assert not any(owner in verdict_words(entry, facts)[1] for owner in entry.copied)  # but its uid
    copies = [entry for entry in facts.board if entry.copied]
    assert copies, "the ledger has some"
    hotkeys = {entry.hotkey for entry in facts.board}
    assert all(owner in hotkeys for entry in copies for owner in entry.copied)


def test_page_asks_nobody_for_anything(grown: Path) -> None:
    page = Texts(page_of(grown))
    for tag, attributes in page.elements:
        assert tag not in {"iframe", "object", "embed", "base"}
        assert not any(name.startswith("on") for name in attributes), f"{tag} {attributes}"
        assert attributes.get("src") is None
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "a":
            target = attributes.get("href") or ""
            assert target.startswith(("#", "https://huggingface.co/datasets/"))
    [policy] = [
        each["content"]
        for tag, each in page.elements
        if tag == "meta" and each.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "connect-src 'none'" in policy


def test_page_shows_hostile_texts_as_text(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path, netuid=NETUID, competition=RULES.id, hotkey="5Validator") as ledger:
        epoch = Epoch(7200, 7560, 1)
        honest = Commitment("5Honest", 1, ModelId("ada/data", RULES.id, "a" * 40), 100)
        bad = Verdict(
            7200, "5Hostile", 2, HOSTILE, 90, "at_fault", Reason.COMMITMENT_MALFORMED, f"It is {HOSTILE}"
        )
        ledger.begin_epoch(epoch, [honest], [bad])
    text = page_of(path)
    page = Texts(text)
    assert not any(tag == "img" for tag, _ in page.elements)
    assert text.count("<script") == len(
        re.findall(r"<script(?: type=\"application/json\" id=\"data\")?>", text)
    )
    assert "alert(1)" in " ".join(page.texts), "it is shown"
    assert "\x1b" not in text
    assert "{{ 7 * 7 }}" in " ".join(page.texts), "and not evaluated"


def test_page_of_a_ledger_without_epochs_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger.open(path, netuid=NETUID, competition=RULES.id, hotkey="5Validator").close()
    told = " ".join(Texts(page_of(path)).texts)
    assert "No epoch has begun yet" in told
    assert "The queue is empty." in told


def test_page_labels_weights_that_burn(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path, netuid=NETUID, competition=RULES.id, hotkey="5Validator") as ledger:
        epoch = Epoch(360, 720, seed=1)
        begin(ledger, (), epoch)
        ledger.close_epoch(settlement(epoch.start_block, scores={}), block=epoch.end_block)
        ledger.record_weights(WeightsSet(epoch.start_block, 8, "8-1", {"owner": 1.0}))
    told = " ".join(Texts(page_of(path)).texts)
    told = " ".join(told.split())
    assert "burn Nobody has a score" in told
    assert "Nobody: no miner has a score, so all weight of epoch 360 is burned" in told
    assert "in 1 of the last 1 epoch." in told
    [owner] = report_numbers(path, RULES)["miners"]
    assert owner["burn"] and owner["weight"] == 1


@pytest.mark.slow
def test_page_stays_small_however_old_the_ledger(tmp_path: Path) -> None:
    sizes = []
    for epochs in (20, 300):
        path = tmp_path / f"{epochs}.sqlite"
        grow(path, miners=12, epochs=epochs, played=20)
        sizes.append(len(page_of(path)) - len(page_of_libraries()))
    assert sizes[1] < 2 * sizes[0]


def page_of_libraries() -> str:
    return files("flockoff.report").joinpath("static", "echarts", "echarts.min.js").read_text("utf-8")


def test_chart_library_is_the_published_one() -> None:
    text = files("flockoff.report").joinpath("static", "echarts", "echarts.min.js").read_bytes()
    assert hashlib.sha256(text).hexdigest() == ECHARTS_SHA256


def test_report_numbers_are_json(grown: Path) -> None:
    numbers = json.loads(json.dumps(report_numbers(grown, RULES), allow_nan=False))
    assert len(numbers["miners"]) == 32
    wins = numbers["wins"]
    assert len(wins["rows"]) == len(wins["miners"]) == wins["of"]
    assert all(row[place] == "0" for place, row in enumerate(wins["rows"])), "nobody beats itself"


def test_write_report_leaves_a_whole_file_and_nothing_else(grown: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    write_report(grown, out, RULES, now=NOW)
    write_report(grown, out, RULES, now=NOW)
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]
    assert out.read_text("utf-8").rstrip().endswith("</html>")


@given(st.recursive(st.text() | st.floats(allow_nan=False, allow_infinity=False), st.lists))
def test_embedded_json_is_the_same_value_and_ends_no_script(value: object) -> None:
    text = embedded(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(1, 1e4)), max_size=30))
def test_lanes_hold_one_evaluation_at_a_time_and_are_as_few_as_can_be(
    spans: list[tuple[float, float]],
) -> None:
    timings = [Timing("5Hotkey", begin + seconds, seconds, 1, 1, 1.0) for begin, seconds in spans]
    placed = lanes(timings)
    for lane in set(placed):
        inside = sorted(
            (timing.recorded_at - timing.seconds, timing.recorded_at)
            for timing, where in zip(timings, placed, strict=True)
            if where == lane
        )
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(inside))
    begins = [timing.recorded_at - timing.seconds for timing in timings]
    at_once = max(
        (
            sum(begin <= moment < timing.recorded_at for begin, timing in zip(begins, timings, strict=True))
            for moment in begins
        ),
        default=0,
    )
    assert len(set(placed)) == at_once


def test_spark_goes_from_left_to_right_and_up_to_the_top() -> None:
    assert spark([None, 1.0, None, 2.0]) == "0.0,9.0 72.0,1.0"
    assert spark([1.0, None]) == ""


def test_page_names_the_rules_by_their_hash(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path, netuid=NETUID, competition=RULES.id, hotkey="5Validator") as ledger:
        ledger.begin_epoch(Epoch(360, 720, 5), [], rules="0123456789abcdef" * 4)
        page = render_page(read_facts(ledger, RULES, NOW))
    assert "rules 01234567</abbr>" in page
    assert '"rules":"0123456789abcdef' in page
