"""The demo and the local network as users run them."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from flockoff.flags import PROJECT_ROOT
from tests.support.playground import forked_program

FLOCKOFF = [sys.executable, "-c", "from flockoff.cli import main; main()"]


def leftovers(directory: Path) -> list[str]:
    """The command lines of processes still working in ``directory``."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if any(str(directory) in part for part in process.info["cmdline"] or [])
        and process.pid != os.getpid()
    ]


def has_worker(demo: int) -> bool:
    """Whether the validator of the demo with this process id has started its worker."""
    for process in psutil.Process(demo).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "flockoff.training.worker" in process.cmdline():
                return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(1200)  # trains on four datasets, and measures each on two sets
def test_demo_plays_an_epoch_in_which_good_data_wins_and_a_paraphraser_is_caught(
    models: Path, tmp_path: Path
) -> None:
    """With --sealed it does all that it does without, and more."""
    arguments = ["demo", "--sealed", "--cache-dir", str(models), "--keep", str(tmp_path / "kept"), "--json"]
    done = subprocess.run([*FLOCKOFF, *arguments], capture_output=True, text=True, timeout=1190)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["failures"] == []
    assert result["rows"][0]["dataset"] == "good"
    by_dataset = {row["dataset"]: row for row in result["rows"]}
    assert by_dataset["copy"]["reason"] == "duplicate"
    cheat = by_dataset["reworded"]
    assert cheat["reason"] == "contaminated"
    assert cheat["public_gain"] - cheat["sealed_gain"] > result["sealed_margin"]
    assert "Leaderboard" in done.stderr
    assert "miner4 committed the public evaluation set" in done.stderr
    assert {path.name for path in (tmp_path / "kept").iterdir()} >= {
        "wallets",
        "logs",
        "validator",
        "datasets",
    }
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_demo_interrupted_leaves_no_process_behind(models: Path, tmp_path: Path) -> None:
    arguments = ["demo", "--cache-dir", str(models), "--keep", str(tmp_path)]
    with subprocess.Popen(
        [*FLOCKOFF, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        while not has_worker(process.pid):  # the last of its processes to be started
            assert process.poll() is None, "the demo ended before it was interrupted"
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_check_finds_the_evaluation_sets_answers_and_says_what_is_valid(models: Path, tmp_path: Path) -> None:
    rules = (PROJECT_ROOT / "flockoff" / "localnet" / "smollm2.toml").read_text("utf-8")
    longer = tmp_path / "longer.toml"  # some of the evaluation set's prompts fill the local one's context
    longer.write_text(rules.replace("context_length = 128", "context_length = 512"), "utf-8")
    local = ["--cache-dir", str(models), "--competition", str(longer)]

    def checked(file: str, *more: str) -> "subprocess.CompletedProcess[str]":
        arguments = [*forked_program("flockoff"), "check", file, *local, *more]
        return subprocess.run(arguments, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True, timeout=300)

    good = checked("flockoff/localnet/samples/conversations.jsonl", "--json")
    assert good.returncode == 0
    assert json.loads(good.stdout)["valid"]
    cheat = checked("eval_data/data.jsonl")
    assert cheat.returncode == 1
    assert "Answers of the evaluation set are in " in cheat.stdout
    assert checked("nowhere.jsonl").returncode == 1


def flockoff(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*forked_program("flockoff"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_localnet_help_names_every_option_whole_in_80_columns() -> None:
    said = subprocess.run(
        [*FLOCKOFF, "localnet", "--help"],
        env=os.environ | {"COLUMNS": "80"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
    ).stdout
    assert "--commitment-cooldown" in said
    assert "--no-commit-reveal" in said
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.slow
def test_localnet_prints_commands_that_work(models: Path, tmp_path: Path) -> None:
    arguments = ["localnet", "--dir", str(tmp_path), "--miners", "2", "--block-seconds", "0.1"]
    arguments += ["--tempo", "50", "--node-port", "0", "--hub-port", "0", "--control-port", "0"]
    with subprocess.Popen(
        [*FLOCKOFF, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        while "Ctrl-C ends" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        commands = re.findall(r"^(HF_ENDPOINT=.*neurons/\w+\.py.*)$", said, re.MULTILINE)
        assert len(commands) == 3
        mined = run_pasted(commands[0], models)
        assert mined.returncode == 0, mined.stdout
        validated = run_pasted(f"{commands[-1]} --help", models)
        assert validated.returncode == 0, validated.stdout
        make_it_misbehave(said, arguments)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=300)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    assert "node: answers nothing for 0.1 s" in rest


def make_it_misbehave(said: str, arguments: Sequence[str]) -> None:
    """As a shell would, while a local network with this output and these arguments is running."""
    found = re.search(r"flockoff (localnet fault --port \d+) node\.stall seconds=20", said)
    assert found, said
    fault = found[1].split()

    stalled = flockoff(*fault, "node.stall", "seconds=0.1")
    assert (stalled.returncode, stalled.stdout) == (0, "node: answers nothing for 0.1 s\n")
    healed = flockoff(*fault, "hub.heal")
    assert (healed.returncode, healed.stdout) == (0, "hub: no faults\n")
    for misuse in (["flood"], ["node.stall", "minutes=2"]):
        refused = flockoff(*fault, *misuse)
        assert refused.returncode == 2, refused.stdout
        assert "Traceback" not in refused.stdout

    second = flockoff(*arguments)
    assert second.returncode == 1
    assert "Another local network runs in" in second.stdout


def run_pasted(command: str, models: Path) -> "subprocess.CompletedProcess[str]":
    """Run a printed command, by this environment's own Python instead of ``uv run``."""
    words = shlex.split(command)
    variables = dict(word.split("=", 1) for word in words[: words.index("uv")])
    script = words[words.index("python3") + 1 :]
    return subprocess.run(
        [sys.executable, *script, "--cache_dir", str(models)],
        env=os.environ | variables,
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
