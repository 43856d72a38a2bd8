"""What all commands have in common."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner, Result

from flockoff import __version__
from flockoff.cli import COMMANDS, CommandEntry, Deferred, app, main
from flockoff.launch import errors_as_json, tell_error
from flockoff.logs import say_on_stderr


def commands(group: TyperGroup, before: str = "") -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    for name, found in group.commands.items():
        command = found.load() if isinstance(found, Deferred) else found
        assert isinstance(command, TyperCommand | TyperGroup)
        yield f"{before}{name}", command
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{before}{name} ")


def all_commands() -> list[tuple[str, TyperCommand | TyperGroup]]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return list(commands(group))


@pytest.mark.parametrize(("name", "command"), all_commands())
def test_every_command_has_json_and_a_help_with_an_example(
    name: str, command: TyperCommand | TyperGroup
) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options
    assert f"flockoff {name}" in (command.help or "")


@pytest.mark.parametrize("entry", [entry for group in COMMANDS.values() for entry in group])
def test_every_command_begins_its_help_with_the_summary_that_lists_it(entry: CommandEntry) -> None:
    assert (Deferred(entry).load().help or "").partition("\n\n")[0] == entry.summary


def test_every_command_is_listed_under_a_heading_with_its_whole_summary(
    command: Callable[..., Result],
) -> None:
    said = command("-h").stdout
    for heading, entries in COMMANDS.items():
        assert f"{heading}:" in said
        for entry in entries:
            assert entry.summary in " ".join(said.split())
    assert command("--help").stdout == said


@pytest.mark.parametrize("name", ["competition", "localnet"])
def test_commands_below_a_command_are_listed_with_whole_summaries(
    name: str, command: Callable[..., Result]
) -> None:
    said = " ".join(command(name, "-h").stdout.split())
    for below, found in all_commands():
        if below.startswith(f"{name} "):
            summary = " ".join((found.help or "").partition("\n\n")[0].split())
            assert f"{below.split()[1]} {summary}" in said


@pytest.mark.parametrize("name", ["--tokens-per-row", "--tokens_per_row", "--tokens.per.row"])
def test_every_spelling_of_an_option_is_understood(name: str, command: Callable[..., Result]) -> None:
    assert json.loads(command("plan", "--gpu", "4090", name, "128", "--json").stdout)["plans"]


def test_error_of_a_command_is_a_sentence(tmp_path: Path, command: Callable[..., Result]) -> None:
    done = command("history", "--data_dir", str(tmp_path))
    assert (done.exit_code, done.stderr.partition(".")[0]) == (1, f"There is no ledger in {tmp_path}")


@pytest.mark.parametrize("name", [name for name, _ in all_commands()])
def test_wrong_flag_of_a_command_is_json_for_machines(name: str, command: Callable[..., Result]) -> None:
    done = command(*name.split(), "--no-such-flag", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 2 and "no-such-flag" in told["error"]
    assert told["remedy"] == f"See: {done.stderr.split()[1]} {name} --help"


@pytest.mark.parametrize(
    ("typed", "status", "error"),
    [
        ("doctor miner --competition nowhere.toml", 2, "nowhere.toml"),
        ("init --netuid 1 --hf_repo_id a/b --directory /dev/null", 1, "/dev/null"),
        ("convert nowhere.jsonl", 1, "nowhere.jsonl"),
        ("check nowhere.jsonl", 1, "nowhere.jsonl"),
        ("score nowhere.jsonl", 1, "nowhere.jsonl"),
        ("submit nowhere.jsonl --netuid 1 --hf_repo_id a/b --competition nowhere.toml", 2, "nowhere.toml"),
        ("status --netuid 1 --competition nowhere.toml", 2, "nowhere.toml"),
        ("plan --gpu abacus", 2, "abacus"),
        ("history --data_dir nowhere", 1, "There is no ledger in nowhere"),
        ("explain 5F --data_dir nowhere", 1, "There is no ledger in nowhere"),
        ("report --data_dir nowhere", 1, "There is no ledger in nowhere"),
        ("replay 1 --data_dir nowhere", 1, "There is no ledger in nowhere"),
        ("leaderboard --data_dir nowhere", 1, "There is no ledger in nowhere"),
        ("leaderboard --netuid 1 --competition nowhere.toml", 2, "nowhere.toml"),
        ("subnet --netuid 1 --competition nowhere.toml", 2, "nowhere.toml"),
        ("watch 5F --netuid 1 --competition nowhere.toml", 2, "nowhere.toml"),
        ("site page --netuid 1 --competition nowhere.toml", 2, "nowhere.toml"),
        ("competition --competition nowhere.toml", 2, "nowhere.toml"),
        ("competition check --competition nowhere.toml", 2, "nowhere.toml"),
        ("simulate --scenario nowhere", 2, "nowhere"),
        ("localnet fault node.stall --port 1", 1, "flockoff localnet"),
        ("leaderbord", 2, "leaderbord"),
    ],
)
def test_error_of_a_command_is_json_for_machines_and_nothing_else(
    typed: str,
    status: int,
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Result],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(*typed.split(), "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, set(told)) == (status, {"error", "remedy"}), done.stderr
    assert error in " ".join(told.values())
    assert told["error"].split(".")[0][:40] in done.stderr


def test_error_as_json_is_printable_and_without_secrets(
    command: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    say_on_stderr({"hf_secret12345"})
    tell_error("Nobody asked for JSON.")
    with errors_as_json(True):
        tell_error("hf_secret12345 is refused\x1b[31m.", "Wait.")
    said = json.loads(capsys.readouterr().out)
    assert said == {"error": "*** is refused\\x1b[31m.", "remedy": "Wait."}


def test_version_is_said(command: Callable[..., Result]) -> None:
    assert command("--version").stdout == f"flockoff {__version__}\n"


def test_command_that_lacks_a_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lacking.py").write_text("import package_that_nobody_has.part", encoding="utf-8")
    (tmp_path / "broken.py").write_text("import flockoff.module_that_is_not_there", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(typer.Exit):
        Deferred(CommandEntry("lacking", "lacking", "")).load()
    said = "This needs package_that_nobody_has, which is not installed. Run: uv sync\n"
    assert capsys.readouterr().err == said
    with pytest.raises(ModuleNotFoundError, match=r"flockoff\.module"):  # a bug, not an installation
        Deferred(CommandEntry("broken", "broken", "")).load()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize("asked", ["--help", "--version", "plan --help"])
def test_help_to_a_full_disk_is_one_line(asked: str) -> None:
    command = [sys.executable, "-c", "from flockoff.cli import main; main()", *asked.split()]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    said = "Cannot use the output: No space left on device. The disk is full: free some space"
    assert done.returncode == 1 and done.stderr.startswith(said) and done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_help_that_cannot_even_say_so_ends_as_otherwise() -> None:
    command = [sys.executable, "-c", "from flockoff.cli import main; main()", "--help"]
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(command, stdout=full, stderr=full, timeout=300).returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_command_whose_reader_has_closed_the_pipe_ends_as_one_does(more: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", "from flockoff.cli import main; main()", "competition", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(300)) == ("", 141)


def test_fault_list_is_json_for_machines(command: Callable[..., Result]) -> None:
    told = json.loads(command("localnet", "fault", "--json").stdout)
    assert "node.stall" in told and "hub.rate-limit" in told


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("plan --gpu ", "4090"),
        ("status --network ", "finney"),
        ("simulate --scenario ", "copiers"),
        ("localnet fault ", "node.stall"),
        ("check --ag", "--against"),
    ],
)
def test_completion_knows_what_an_option_takes(typed: str, offered: str) -> None:
    words = f"flockoff {typed}"
    asked = {
        "_FLOCKOFF_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = CliRunner().invoke(app, prog_name="flockoff", env=asked)
    assert offered in done.stdout.splitlines()


@pytest.mark.parametrize("typed", ["status -h", "submit --help"])
def test_help_is_there_while_a_stored_file_cannot_be_read(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Result]
) -> None:
    (tmp_path / ".env").write_bytes(b"\xff")
    monkeypatch.chdir(tmp_path)
    assert command(*typed.split()).exit_code == 0
    assert "is not UTF-8 text" in command(typed.split()[0], "--netuid", "1").stderr


def test_completion_has_a_line_for_each_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {
        "_FLOCKOFF_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": "flockoff ",
        "COLUMNS": "80",
    }
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["flockoff"])
    with pytest.raises(SystemExit):
        main()
    lines = capsys.readouterr().out.splitlines()
    offered = {line.partition("\t")[0]: line.partition("\t")[2] for line in lines}
    assert offered == {entry.name: entry.summary for group in COMMANDS.values() for entry in group}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_completion(shell: str, command: Callable[..., Result]) -> None:
    done = command("--show-completion", shell)
    assert done.exit_code == 0 and "complet" in done.stdout.lower()
