"""``flockoff check`` with the tokenizer of a local hub's tiny model."""

import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

from flockoff.competition import EvaluationSet
from tests.support.contamination_cases import evaluation_rows
from tests.support.playground import Playground
from tests.support.tiny_model import row, write_dataset

THEIRS = [
    row(
        f"Tell me about {n}.",
        f"The {n} of them went over the hill, and when they came back at dusk " + "so " * n,
    )
    for n in range(3, 9)
]
PUBLIC = [
    row(
        f"Describe shape {n}.",
        f"A shape with {n} sides rolls past the old mill each morning, and the children count it "
        + "again " * n,
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
    write_dataset(tmp_path / "one.jsonl", [*OWN, OWN[0]])
    assert "1 row repeats others" in check(str(tmp_path / "one.jsonl")).stdout
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


@pytest.mark.slow
def test_check_of_rows_with_evaluation_answers_tells_which_and_whose(
    playground: Playground,
    check: Callable[..., Result],
    command: Callable[..., Result],
    tmp_path: Path,
) -> None:
    rules = playground.competition.read_text(encoding="utf-8")
    competition = tmp_path / "competition.toml"
    competition.write_text(re.sub(r"[0-9a-f]{64}", EvaluationSet().sha256, rules), encoding="utf-8")
    file = tmp_path / "data.jsonl"
    answers = [evaluation_rows()[place].turns[-1].content.upper()[:150] for place in (4, 9, 11)]
    write_dataset(file, [*OWN, *(row("Go on.", answer) for answer in answers)])
    flags = ["--competition", str(competition), "--cache-dir", str(tmp_path / "cache")]
    done = command("check", str(file), *flags)
    assert done.exit_code == 1, done.stderr
    for line, place in ((10, 5), (11, 10), (12, 12)):
        assert re.search(
            rf"line {line}: \d+% of an answer in the set's row {place}$", done.stdout, re.MULTILINE
        )
    assert "Answers of the evaluation set are in 3 of 12 rows: lines 10, 11, 12." in done.stdout
    told = json.loads(command("check", str(file), "--json", *flags).stdout)
    assert told["left_out"] == [each["line"] for each in told["answers"]] == [10, 11, 12]


@pytest.mark.slow
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


@pytest.mark.slow
def test_check_with_a_netuid_tells_whose_rows_these_are_before_anything_is_paid(
    playground: Playground, check: Callable[..., Result], tmp_path: Path
) -> None:
    assert playground.mine(1, PUBLIC, repo="public").status == 0
    subnet = ["--netuid", str(playground.subnet.netuid), "-n", playground.node.endpoint]
    folder = playground.directory / "cache" / "compared"
    file = tmp_path / "data.jsonl"
    write_dataset(file, [*OWN[:1], *PUBLIC])

    done = check(str(file), *subnet)
    assert done.exit_code == 1, done.output
    wallet = playground.subnet.miners[1]
    with closing(playground.chain(wallet)) as chain:
        uid, hotkey = chain.require_uid(), chain.hotkey
    assert re.search(rf"\d\d\.\d% of the assistant's tokens are uid {uid} \({hotkey[:5]}", done.stdout)
    assert f"{wallet.name}/public, committed in block" in done.stdout
    assert hotkey not in done.stdout and "Replace them with rows of your own" in done.stdout

    before = playground.hub.requests
    write_dataset(file, OWN)
    told = json.loads(check(str(file), *subnet, "--json").stdout)
    assert told["valid"] and told["overlap"]["compared"] >= 1 and told["overlap"]["owners"] == []
    assert playground.hub.requests == before  # what was compared with once is known
    assert len([*folder.glob("*.sketch")]) == told["overlap"]["compared"]

    write_dataset(file, PUBLIC[::-1])
    whole = check(str(file), *subnet)
    assert f"is a copy of what uid {uid} ({hotkey[:5]}" in whole.stdout
    own = check(str(file), *subnet, "-w", wallet.name, "-H", wallet.hotkey, "-p", str(wallet.path))
    assert own.exit_code == 0, own.output  # what is one's own is nobody else's


def test_check_against_without_a_commit_is_a_usage_error(
    check: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "data.jsonl"
    write_dataset(file, OWN)
    done = check(str(file), "--against", "ann/data")
    assert done.exit_code == 2
    assert "Give REPO@COMMIT" in done.stderr


def test_check_of_the_format_needs_neither_hub_nor_tokenizer(
    command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    file = tmp_path / "data.jsonl"
    file.write_text('{"messages": []}\n' * 40, encoding="utf-8")
    done = command("check", str(file), "--cache_dir", str(tmp_path / "nothing"))
    assert done.exit_code == 1 and done.stdout.startswith("40 rows (lines 1, 2, 3, ")
    assert "OpenAI's `messages` format" in done.stdout and "40 problems in 40 rows" in done.stdout
    told = json.loads(command("check", str(file), "--json").stdout)
    assert (told["valid"], told["problem_count"], len(told["problems"])) == (False, 40, 20)
    assert [mistake["count"] for mistake in told["mistakes"]] == [40]
