"""``flockoff check`` with the tokenizer of a local hub's tiny model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playground import Playground
from tiny_model import row, write_dataset
from typer.testing import Result

THEIRS = [
    row(
        f"Tell me about {n}.",
        f"The {n} of them went over the hill, and when they came back at dusk " + "so " * n,
    )
    for n in range(3, 9)
]
OWN = [
    row(f"Add {n}.", f"That makes {n} more than there was before you asked me to add it to the sum.")
    for n in range(9)
]


@pytest.fixture
def check(
    playground: Playground, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.setenv("HF_ENDPOINT", playground.hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", playground.reader())
    flags = ["--competition", str(playground.competition), "--cache-dir", str(playground.directory / "cache")]
    return lambda *arguments: command("check", *arguments, *flags)


def test_check_of_a_valid_dataset_shows_its_numbers(check: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    write_dataset(file, [*OWN, OWN[0], OWN[0]])
    done = check(str(file))
    assert done.exit_code == 0, done.stderr
    assert "is valid: 11 rows" in done.stdout and "2 rows repeat others" in done.stdout
    assert "tokens a row" in done.stdout and "█ 11" in done.stdout
    told = json.loads(check(str(file), "--json").stdout)
    assert (told["valid"], told["rows"], told["repeated_rows"], sum(told["lengths"])) == (True, 11, 2, 11)


def test_check_of_an_invalid_dataset_names_lines_and_reasons(
    check: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"conversations": []}\n\x1b[2J\n', encoding="utf-8")
    done = check(str(file))
    assert done.exit_code == 1
    assert "line 1: no_turns: 'conversations' is empty" in done.stdout
    assert "line 2: not_json: " in done.stdout
    assert "\x1b" not in done.stdout


def test_check_against_another_tells_what_is_not_ones_own(
    playground: Playground, check: Callable[..., Result], tmp_path: Path
) -> None:
    assert playground.mine(0, THEIRS, repo="theirs").status == 0
    committed = playground.commitment(0)
    assert committed is not None
    repo, _, commit = committed.text.split(":")
    file = tmp_path / "data.jsonl"
    write_dataset(file, [*OWN, *THEIRS[:2]])
    done = check(str(file), "--against", f"{repo}@{commit}")
    assert done.exit_code == 0, done.stderr
    assert "Not trained on, should that one be committed earlier: lines 10, 11." in done.stdout
    write_dataset(file, [*OWN[:1], *THEIRS])
    told = json.loads(check(str(file), "--against", f"{repo}@{commit}", "--json").stdout)
    assert told["valid"] is False and told["overlap"]["lines"] == [2, 3, 4, 5, 6, 7]
    assert 0.5 < told["overlap"]["share"] < 1


def test_check_against_without_a_commit_is_a_usage_error(
    check: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "data.jsonl"
    write_dataset(file, OWN)
    done = check(str(file), "--against", "ann/data")
    assert done.exit_code == 2
    assert "Give it as REPO@COMMIT" in done.stderr
