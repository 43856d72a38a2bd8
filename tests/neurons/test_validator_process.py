"""neurons/validator.py as users run it, with real training of a tiny model."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from flockoff.ledger import Ledger
from flockoff.openers import ledger_path
from flockoff.records import Row
from tests.support.free_port import free_port
from tests.support.playground import Playground, terminated
from tests.support.post import running_post
from tests.support.tiny_model import row

pytestmark = pytest.mark.slow

GOOD = [row(f"What is {n}?", "It is " + "so " * n + "and no more.") for n in range(6, 14)]
NOISE = [row(f"What is {n}?", "zq#" * 4 + str(n)) for n in range(6, 14)]


def opened(data_dir: Path, playground: Playground) -> Ledger:
    path = ledger_path(data_dir)
    return Ledger.open(path, netuid=playground.subnet.netuid, competition="f127", read_only=True)


def submit_all(playground: Playground, datasets: Sequence[Sequence[Row]]) -> None:
    for number, rows in enumerate(datasets):
        outcome = playground.mine(number, rows)
        assert outcome.status == 0, outcome.said


def test_validator_plays_an_epoch_and_another_start_repeats_nothing(
    playground: Playground, tmp_path: Path
) -> None:
    submit_all(playground, [GOOD, NOISE, GOOD[::-1]])
    playground.next_epoch()
    outcome = playground.validate(tmp_path, "--epochs", "1", "--logging.trace")
    assert outcome.status == 0, outcome.said
    assert "Traceback" not in outcome.said
    who = r"flockoff \S+: uid \d+ \(hotkey 5\w+\) on subnet \d+ of ws://127\.0\.0\.1:\d+"
    beside = (" TRACE ", " is in memory (")  # as this run's temporary folder may be
    lines = [line for line in outcome.said.splitlines() if not any(each in line for each in beside)]
    first, last = lines[0], lines[-1]
    assert re.search(rf"{who}, device cpu, competition f127 \([0-9a-f]{{12}}\)\.$", first), first
    assert last.endswith("The validator has ended.")
    with opened(tmp_path, playground) as ledger:
        base = ledger.base_loss()
        rows = {row.model_id.split("/")[0]: row for row in ledger.views.leaderboard() if row.model_id}
        assert base is not None
        assert rows["miner1"].loss is not None and rows["miner2"].loss is not None
        assert rows["miner1"].loss < base.loss
        assert rows["miner1"].loss < rows["miner2"].loss
        assert rows["miner3"].standing == "at_fault"
        weights = ledger.last_weights()
    again = playground.validate(tmp_path, "--epochs", "1")
    assert again.status == 0, again.said
    assert "training on" not in again.said
    with opened(tmp_path, playground) as ledger:
        assert ledger.last_weights() == weights


def test_validator_that_an_error_ends_sends_an_alert_and_keeps_its_address(
    playground: Playground, tmp_path: Path
) -> None:
    with running_post() as post:
        outcome = playground.validate(tmp_path, "--netuid", "99", "--alert", post.url)
        assert outcome.status == 1 and "There is no subnet 99" in outcome.said
        assert post.titles == ["validator on subnet 99: the validator has ended"]
        assert "There is no subnet 99" in post.told[0]["message"]
    assert "hunter2" not in outcome.said and "private-path" not in outcome.said
    refused = playground.validate(tmp_path, "--alert", "nonsense://topsecret")
    assert refused.status == 2 and "topsecret" not in refused.said
    assert "Apprise does not understand" in refused.said


def test_validator_terminated_in_mid_epoch_leaves_no_worker_and_goes_on(
    playground: Playground, tmp_path: Path
) -> None:
    submit_all(playground, [GOOD * 2, NOISE * 2])
    playground.next_epoch()
    report, port = tmp_path / "report", free_port()
    shown = ("--report", str(report), "--dashboard", str(port))
    flags = ("--epochs", "1", "--logging.trace", *shown)
    with (
        playground.download_held(1),
        playground.start_validator(tmp_path, *flags, forks=False) as process,
    ):
        assert process.stdout is not None
        while "training 2/" not in (line := process.stdout.readline()):
            assert line, "the validator ended before it trained"
        with urlopen(f"http://127.0.0.1:{port}/", timeout=300) as page:
            assert "in progress" in page.read().decode()
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
        asked = time.monotonic()
        outcome = terminated(process)
        assert outcome.status == 0, outcome.said
        assert time.monotonic() - asked < 10  # the promise, not a measurement
    assert not any(worker.is_running() for worker in workers)
    assert "in progress" in (report / "index.html").read_text("utf-8")
    outcome = playground.validate(tmp_path, "--epochs", "1")
    assert outcome.status == 0, outcome.said
    with opened(tmp_path, playground) as ledger:
        assert ledger.last_weights() is not None


def test_validator_second_on_the_same_ledger_is_refused(playground: Playground, tmp_path: Path) -> None:
    with playground.start_validator(tmp_path) as process:
        assert process.stdout is not None
        while "Epoch" not in (line := process.stdout.readline()):
            assert line, "the validator ended before its first epoch"
        outcome = playground.validate(tmp_path, "--epochs", "1")
        assert outcome.status == 1
        assert "another validator is using it" in outcome.said
        assert terminated(process).status == 0


def test_validator_evaluation_set_that_is_not_the_pinned_one_is_refused(
    playground: Playground, tmp_path: Path
) -> None:
    (tmp_path / "data.jsonl").write_text("{}\n", encoding="utf-8")
    outcome = playground.validate(tmp_path, "--eval_data_dir", str(tmp_path))
    assert outcome.status == 1
    assert "not the competition's evaluation set" in outcome.said


def test_validator_device_that_is_not_there_is_refused(playground: Playground, tmp_path: Path) -> None:
    assert playground.mine(5, GOOD).status == 0
    playground.next_epoch()
    outcome = playground.validate(tmp_path, "--device", "cuda:7", "--epochs", "1")
    assert outcome.status == 2
    assert "There is no GPU cuda:7" in outcome.said
    assert "Traceback" not in outcome.said
