"""The report in a headless Chromium: it draws, logs no errors, and fits."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flockoff.errors import Reason
from flockoff.records import Verdict
from flockoff.report import dashboard, write_report
from flockoff.report.site import write_site
from flockoff.standings import standings
from tests.support.browser import CHROMIUM, Tab, running_browser
from tests.support.free_port import free_port
from tests.support.grown_ledger import NOW, RULES, grow
from tests.support.ledger_records import EPOCH, begin, commitment, judge, open_ledger
from tests.support.views import large_view

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]

_PICTURES = "document.querySelectorAll('[data-chart]').length"
_DRAWN = "document.querySelectorAll('[data-chart] canvas').length"
_ALL_DRAWN = f"{_PICTURES} > 0 && {_PICTURES} === {_DRAWN}"
_SCROLL_THROUGH = """(async () => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += 500) {
    scrollTo(0, y);
    await new Promise((done) => setTimeout(done, 40));
  }
})()"""
HOSTILE = "</script><script>globalThis.broken = 1</script><img src=x onerror='globalThis.broken = 1'>\u2028"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with running_browser(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture
def fresh(tab: Tab) -> Tab:
    tab.complaints.clear()
    tab.strays.clear()
    tab.size(1280, 900)
    tab.prefer("light")
    return tab


@pytest.fixture(scope="module")
def ledger_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grown") / "ledger.sqlite"
    grow(path, miners=40, epochs=6, running=5)
    return path


@pytest.fixture(scope="module")
def page(ledger_file: Path) -> Path:
    out = ledger_file.with_name("report.html")
    write_report(ledger_file, out, RULES, now=NOW + 600)
    return out


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_in_browser_draws_every_picture_unscrolled_and_without_a_complaint(
    scheme: str, fresh: Tab, page: Path
) -> None:
    fresh.prefer(scheme)
    fresh.open(page.as_uri())
    fresh.wait(_ALL_DRAWN)
    assert (fresh.complaints, fresh.strays) == ([], [])


def test_report_in_browser_says_when_an_epoch_of_a_chart_began(fresh: Tab, page: Path) -> None:
    fresh.open(page.as_uri())
    fresh.wait(_ALL_DRAWN)
    part = "{axisValue: '7,200', dataIndex: 0, seriesName: 'best', value: 2}"
    said = str(fresh.run(f"epochTooltip((value) => value).formatter([{part}])"))
    assert re.fullmatch(r"epoch 7,200, \d{4}-\d\d-\d\d \d\d:\d\d UTC\nbest  2", said)


def test_report_in_browser_picture_that_is_hidden_for_a_while_comes_back(fresh: Tab, page: Path) -> None:
    fresh.open(page.as_uri())
    fresh.wait(_ALL_DRAWN)
    fresh.run(
        """(async () => {
  const place = document.querySelector("[data-chart=copies]");
  for (const display of ["none", ""]) {
    place.style.display = display;
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  }
})()"""
    )
    assert fresh.complaints == []


def test_report_in_browser_has_colours_that_follow_the_system(fresh: Tab, page: Path) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        fresh.prefer(scheme)
        fresh.open(page.as_uri())
        grounds.append(fresh.run("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(246, 246, 243)", "rgb(17, 20, 24)"]


def test_report_in_browser_on_a_phone_does_not_scroll_sideways(fresh: Tab, page: Path) -> None:
    fresh.size(390, 844, phone=True)
    fresh.open(page.as_uri())
    fresh.wait(_ALL_DRAWN)
    assert fresh.run("document.documentElement.scrollWidth") == 390


def test_report_in_browser_finds_and_sorts_miners(fresh: Tab, page: Path) -> None:
    shown = "[...document.querySelectorAll('#leaderboard tbody tr:not([hidden])')]"
    fresh.open(page.as_uri())
    fresh.run("document.querySelector('[data-show=at_fault]').click()")
    assert set(fresh.run(f"{shown}.map((row) => row.dataset.standing)")) == {"at_fault"}
    fresh.run("document.querySelector('[data-show=\"\"]').click()")
    fresh.run("document.querySelectorAll('#leaderboard th')[2].click()")
    losses = fresh.run(f"{shown}.map((row) => row.cells[2].dataset.v).filter(Boolean).map(Number)")
    assert len(losses) > 2 and losses == sorted(losses)


def test_report_in_browser_shows_a_miner_that_is_chosen(fresh: Tab, page: Path) -> None:
    fresh.open(page.as_uri())
    hotkey = fresh.run("report.data.miners[0].hotkey")
    fresh.run("document.querySelector('#leaderboard a.miner').click()")
    assert fresh.run("document.querySelector('dialog').open")
    assert hotkey in fresh.run("document.querySelector('dialog').textContent")
    assert fresh.complaints == []


def test_report_in_browser_without_javascript_has_the_leaderboard(fresh: Tab, page: Path) -> None:
    fresh.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        fresh.open(page.as_uri())
        visible = fresh.run("[...document.querySelectorAll('#leaderboard tbody tr')].every((r) => !r.hidden)")
        assert visible
        assert fresh.run("document.querySelector('.theme').offsetParent") is None
    finally:
        fresh.call("Emulation.setScriptExecutionDisabled", value=False)


def test_report_in_browser_shows_hostile_texts_as_text(fresh: Tab, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with open_ledger(path) as ledger:
        ledger.record_commitments([commitment("annabel", 100)])
        begin(ledger, ("annabel",))
        fault = Reason.DUPLICATE
        judge(ledger, Verdict(EPOCH.start_block, "annabel", 1, HOSTILE, 100, "at_fault", fault, HOSTILE))
    write_report(path, tmp_path / "report.html", RULES, now=NOW)
    fresh.open((tmp_path / "report.html").as_uri())
    fresh.run("document.querySelector('#leaderboard a.miner').click()")
    assert fresh.run("typeof globalThis.broken") == "undefined"
    assert "<img src=x" in fresh.run("document.querySelector('dialog').textContent")
    assert fresh.complaints == []


def test_report_in_browser_follows_a_live_dashboard(fresh: Tab, ledger_file: Path) -> None:
    port = free_port()
    with dashboard(ledger_file, port, RULES):
        fresh.open(f"http://127.0.0.1:{port}/")
        fresh.wait("document.querySelector('[data-live=state]').textContent === 'Live.'")
        assert fresh.run("document.querySelectorAll('[data-place]:not(.pending)').length") == 5
    assert (fresh.complaints, fresh.strays) == ([], [])


@pytest.mark.parametrize(("width", "media"), [(1280, ""), (390, ""), (794, "print")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_site_in_browser_fits_and_sorts_and_complains_of_nothing(
    scheme: str, width: int, media: str, fresh: Tab, tmp_path: Path
) -> None:
    view = large_view(256, 64, hostile=HOSTILE)
    page, _ = write_site(standings(view, "f127"), [], "0" * 64, tmp_path)
    fresh.size(width, 900, phone=width < 500)
    fresh.prefer(scheme, media)
    fresh.open(page.as_uri())
    assert fresh.run("document.documentElement.scrollWidth") == width
    shown = "[...document.querySelectorAll('#leaderboard tbody tr:not([hidden])')]"
    fresh.run("document.querySelectorAll('#leaderboard th')[6].click()")
    incentives = fresh.run(f"{shown}.map((row) => Number(row.cells[6].dataset.v))")
    assert len(incentives) == 32 and incentives == sorted(incentives)
    fresh.run("document.querySelector('[data-show=at_fault]').click()")
    assert set(fresh.run(f"{shown}.map((row) => row.dataset.standing)")) == {"at_fault"}
    assert fresh.run("typeof globalThis.broken") == "undefined"
    assert (fresh.complaints, fresh.strays) == ([], [])


def test_report_in_browser_holds_with_256_miners_and_1000_epochs(fresh: Tab, tmp_path: Path) -> None:
    path, out = tmp_path / "ledger.sqlite", tmp_path / "report.html"
    grow(path, miners=256, epochs=1000, played=20)
    write_report(path, out, RULES, now=NOW + 600)
    assert out.stat().st_size < 3_000_000
    fresh.open(out.as_uri())
    fresh.run(_SCROLL_THROUGH)
    fresh.wait(_ALL_DRAWN)
    assert fresh.run("report.data.trends.epochs.length") <= 160
    assert (fresh.complaints, fresh.strays) == ([], [])
