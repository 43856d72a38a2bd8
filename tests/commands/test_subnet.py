"""``flockoff subnet``, ``leaderboard --netuid`` and what else reads the chain alone, on a local chain."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from flockoff.chain import hotkey_address
from tests.support.busy_subnet import HOSTILE, BusySubnet, busy_subnet

Flockoff = Callable[..., Result]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, isolated_home: None) -> Iterator[BusySubnet]:
    with busy_subnet(tmp_path_factory.mktemp("busy")) as found:
        yield found


@pytest.mark.slow
def test_leaderboard_by_the_chain_has_every_validators_view(busy: BusySubnet, command: Flockoff) -> None:
    told = json.loads(command("leaderboard", *busy.flags, "--json").stdout)
    miners = {each["hotkey"]: each for each in told["miners"]}
    first, second, third = (miners[hotkey_address(wallet)] for wallet in busy.subnet.miners)
    assert (first["rank"], second["rank"]) == (1, 2)
    assert first["url"].startswith("https://huggingface.co/datasets/miner1/data/tree/")
    views = [first["weights"][str(uid)] for uid in busy.validator_uids]
    assert views == [pytest.approx(0.6, abs=1e-4), pytest.approx(0.5, abs=1e-4)]
    assert first["incentive"] > second["incentive"] > 0 and first["alpha_per_day"] > 0
    assert third["commitment"] == HOSTILE and third["problem"].startswith("Malformed commitment")
    [burn] = [each for each in told["miners"] if each["burn"]]
    assert burn["rank"] is None and burn["alpha_per_day"] == 0 and told["worth"]["burned"] > 0


def test_leaderboard_by_the_chain_is_a_table_without_what_a_terminal_would_obey(
    busy: BusySubnet, command: Flockoff
) -> None:
    done = command("leaderboard", *busy.flags)
    assert done.exit_code == 0 and "\x1b" not in done.stdout
    assert (
        "miner1/data" in done.stdout and "by " in done.stdout and "of the incentive is burned" in done.stdout
    )
    [burn] = [line for line in done.stdout.splitlines() if line.split()[:1] == ["burn"]]
    assert "the owner's" in burn


def test_leaderboard_as_csv_is_read_back_and_holds_no_formula(busy: BusySubnet, command: Flockoff) -> None:
    rows = list(csv.DictReader(io.StringIO(command("leaderboard", *busy.flags, "--csv").stdout)))
    assert rows[0]["rank"] == "1" and float(rows[0]["incentive"]) > 0
    [hostile] = [row for row in rows if "evil" in row["commitment"]]
    assert hostile["commitment"].startswith("'=")


def test_subnet_shows_validators_queue_and_worth(busy: BusySubnet, command: Flockoff) -> None:
    shown = command("subnet", *busy.flags).stdout
    for word in ("1 % of it", "to register", "version key", "blocks, ", "now", "miner1/data"):
        assert word in shown
    told = json.loads(command("subnet", *busy.flags, "--json").stdout)
    roster = {each["uid"]: each for each in told["validators"]}
    one, other = (roster[uid] for uid in busy.validator_uids)
    assert one["permit"] and one["trust"] > 0 and 0 < one["overlap"] <= 1
    assert one["burned"] == pytest.approx(0.1, abs=1e-4) and other["burned"] == pytest.approx(0.2, abs=1e-4)
    assert [each["repo"] for each in told["queue"]] == ["miner1/data", "miner2/data"]
    assert told["seconds_left"] >= 0 and told["worth"]["percent_alpha_per_day"] > 0


def test_subnet_that_is_not_there_is_a_sentence(busy: BusySubnet, command: Flockoff) -> None:
    done = command("subnet", "--netuid", "99", "--chain", busy.node.endpoint)
    assert done.exit_code == 1 and done.stderr.startswith("There is no subnet 99")


def test_leaderboard_refuses_a_ledgers_epoch_on_the_chain(command: Flockoff) -> None:
    assert command("leaderboard", "--netuid", "1", "--epoch", "5").exit_code == 2
    assert command("leaderboard", "--csv", "--json").exit_code == 2


def test_rank_change_is_since_the_epoch_before(flockoff: Flockoff, data_dir: Path) -> None:
    rows = json.loads(flockoff("leaderboard", "--json").stdout)["rows"]
    assert all(row["rank_change"] is None for row in rows)  # the ledger's first epoch
    lines = flockoff("history", "--csv").stdout.splitlines()
    assert lines[0].startswith("start_block,") and len(lines) == 2


def test_site_is_written_whole_from_the_chain_and_stays_when_the_chain_is_gone(
    busy: BusySubnet, command: Flockoff, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    numbers = {"netuid": 1, "miners": [{"hotkey": hotkey_address(busy.subnet.miners[0]), "loss": 1.5}]}
    report.write_text(json.dumps(numbers), encoding="utf-8")
    flags = [str(tmp_path / "www"), "--report", str(report), "--report", str(tmp_path / "none")]
    done = command("site", *busy.flags, *flags)
    assert done.exit_code == 0 and "No report from none: It cannot be read" in done.stderr
    page = (tmp_path / "www" / "index.html").read_text(encoding="utf-8")
    assert "miner1/data" in page and "1.5000" in page and "<img" not in page
    told = json.loads(command("site", *busy.flags, *flags, "--json").stdout)
    assert told["site"]["reports"][0]["miners"] and Path(told["numbers"]).exists()
    again = (tmp_path / "www" / "index.html").read_text(encoding="utf-8")
    gone = command("site", "--netuid", "99", "--chain", busy.node.endpoint, *flags)
    assert gone.exit_code == 1
    assert (tmp_path / "www" / "index.html").read_text(encoding="utf-8") == again
