"""``flockoff leaderboard`` and ``flockoff history`` on a ledger with a past."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import Result

from flockoff.commands.tables import outside, print_fitting, reason
from flockoff.openers import ledger_path
from flockoff.records import Epoch, WeightsSet
from tests.support.ledger_records import EPOCH, begin, commitment, open_ledger, settlement

Flockoff = Callable[..., Result]
LATER = Epoch(EPOCH.end_block, EPOCH.end_block + 360, seed=1)


def test_leaderboard_shows_everybody_with_a_reason(flockoff: Flockoff) -> None:
    done = flockoff("leaderboard")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    [ann] = [line for line in lines if "annab…abel" in line]
    assert "1.5000" in ann and "-25.0%" in ann and "0.6000" in ann and ann.rstrip().endswith("eligible")
    [carl] = [line for line in lines if "carlo…otta" in line]
    assert "duplicate: \\x1b[2J[red]evil[/red]<script>" in carl
    assert any("dora…dora" in line and "no turn" in line for line in lines)
    assert "\x1b" not in done.stdout


def test_leaderboard_json_has_all_that_the_table_has(flockoff: Flockoff) -> None:
    told = json.loads(flockoff("leaderboard", "--epoch", str(EPOCH.start_block), "--json").stdout)
    assert (told["epoch"], told["base_loss"]) == (EPOCH.start_block, 2.0)
    assert [row["hotkey"] for row in told["rows"]] == ["annabel", "bobbybob", "carlotta", "dora"]


def test_weights_that_burn_are_not_a_miners_lead(flockoff: Flockoff, data_dir: Path) -> None:
    with open_ledger(ledger_path(data_dir)) as ledger:
        begin(ledger, (), LATER)
        ledger.close_epoch(settlement(LATER.start_block, scores={}), block=LATER.end_block)
        ledger.record_weights(WeightsSet(LATER.start_block, 8, "8-1", {"owner": 1.0}))
        ledger.record_commitments([commitment("owner", 200, uid=0)])
    assert "burn: nobody has a score" in flockoff("leaderboard").stdout
    assert json.loads(flockoff("leaderboard", "--json").stdout)["burn"] == "owner"
    assert "weight    burn: nobody had a score" in flockoff("explain", "owner").stdout
    assert (
        json.loads(flockoff("leaderboard", "--epoch", str(EPOCH.start_block), "--json").stdout)["burn"]
        is None
    )


def test_leaderboard_of_an_epoch_that_is_not_there_says_so(flockoff: Flockoff) -> None:
    done = flockoff("leaderboard", "--epoch", "5")
    assert done.exit_code == 2
    assert "No closed epoch begins at block 5. flockoff history lists the epochs." in done.stderr


def test_history_lists_epochs(flockoff: Flockoff) -> None:
    assert str(EPOCH.start_block) in flockoff("history").stdout
    [epoch] = json.loads(flockoff("history", "--json").stdout)
    assert (epoch["places"], epoch["eligible"], epoch["at_fault"]) == (3, 2, 1)


@pytest.mark.parametrize("who", ["carlotta", "carl", "3"])
def test_history_of_one_miner_shows_its_turns(flockoff: Flockoff, who: str) -> None:
    done = flockoff("history", who)
    assert "duplicate: \\x1b[2J[red]evil[/red]<script>" in done.stdout
    told = json.loads(flockoff("history", who, "--json").stdout)
    assert (told["hotkey"], told["turns"][0]["reason"]) == ("carlotta", "duplicate")


def test_history_of_nobody_says_what_to_give(flockoff: Flockoff) -> None:
    done = flockoff("history", "nobody")
    assert done.exit_code == 2
    assert "Give the hotkey's address, its first characters, or the uid." in done.stderr


def test_leaderboard_without_a_ledger_says_where_one_comes_from(flockoff: Flockoff, tmp_path: Path) -> None:
    done = flockoff("leaderboard", "--data-dir", str(tmp_path / "elsewhere"))
    assert done.exit_code == 1
    assert "A validator creates one when it starts" in done.stderr


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_table_that_does_not_fit_loses_columns_and_cuts_no_cell(width: int) -> None:
    screen = Console(width=width, file=io.StringIO(), highlight=False)
    rows = [["7", "0.1234", "0.5678", "123,456.789", outside("why [red] " * 9)]]
    print_fitting(
        screen,
        "T",
        rows,
        words=("uid",),
        numbers=("one", "two", "three"),
        last="why",
        expendable=("three", "two"),
    )
    said = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in said and "0.1234" in said and said.count("why [red]") >= 2
    gone = [name for name, cell in (("two", "0.5678"), ("three", "123,456.789")) if cell not in said]
    assert gone == {40: ["two", "three"]}.get(width, [])
    assert ("too narrow for: three, two. --json has all." in " ".join(said.split())) == (width == 40)


def test_reasons_name_others_by_uid_and_are_whole() -> None:
    other = "5EZt7dxacY3RpA2PPBoTMZoka3LFV5vEkwdUJvCdyqQVWL9N"
    text = f"A copy of what hotkey {other} committed. " * 5 + "Commit a dataset of your own."
    shown = reason(text, {other: 3})
    assert other not in shown and shown.startswith(
        "A copy of what uid 3 (5EZt7…WL9N) committed. A copy of what uid 3 committed."
    )
    assert shown.endswith("Commit a dataset of your own.")


def test_beginning_that_several_share_lists_them_by_uid(flockoff: Flockoff, data_dir: Path) -> None:
    with open_ledger(ledger_path(data_dir)) as ledger:
        ledger.record_commitments([commitment("annabess", 104, uid=9)])
    done = flockoff("history", "annab")
    assert (
        done.exit_code == 2
        and "uid 1 annab…abel" in done.stderr
        and "Give more of the address" in done.stderr
    )
    assert json.loads(flockoff("history", "bo", "--json").stdout)["hotkey"] == "bobbybob"
