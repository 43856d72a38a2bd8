"""``flockoff score`` with a tiny model of a local hub."""

import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

from flockoff.competition import load_competition
from flockoff.dataset import content_hash, load_rows
from flockoff.hub import HubClient
from flockoff.training.evaluator import WorkerEvaluator
from tests.support.playground import Playground
from tests.support.tiny_model import row, write_dataset

pytestmark = pytest.mark.slow

GOOD = [row(f"What is {n}?", "It is " + "so " * n + "and no more.") for n in range(7, 15)]
STRANGE = [row(f"Say {n}.", "zqj" * n + "!") for n in range(7, 15)]
OTHER = [row(f"Say {n}.", "No " * n + "never.") for n in range(1, 9)]


@pytest.fixture
def score(
    playground: Playground, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.setenv("HF_ENDPOINT", playground.hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", playground.reader())

    def run(*arguments: str) -> Result:
        flags = [
            "--competition",
            str(playground.competition),
            "--cache-dir",
            str(playground.directory / "cache"),
        ]
        flags += ["--eval-data-dir", str(playground.eval_data_dir), "--device", "cpu"]
        return command("score", *arguments, *flags)

    return run


def test_score_is_the_evaluators_number_and_is_kept(
    playground: Playground, score: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "data.jsonl"
    write_dataset(file, GOOD)
    first = score(str(file), "--seed", "7", "--json")
    assert first.exit_code == 0, first.stderr
    told = json.loads(first.stdout)
    again = json.loads(score(str(file), "--seed", "7", "--json").stdout)
    assert again[str(file)] == told[str(file)]  # its seconds too: it was not measured anew
    rules = load_competition(playground.competition)
    with closing(HubClient(None, playground.hub.endpoint)) as hub:
        model = hub.fetch_base_model(rules.base_model, playground.directory / "cache", tokenizer_only=False)
    rows = load_rows(file, rules.limits, frozenset())
    evaluator = WorkerEvaluator(
        rules, model_dir=model, evaluation_file=playground.eval_data_dir / "data.jsonl", device="cpu"
    )
    with closing(evaluator):
        expected = evaluator.evaluate(
            file,
            content_hash(rows),
            7,
            tokens=told[str(file)]["measurements"][0]["train_tokens"],
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )
    assert told[str(file)]["loss"] == expected.loss
    [kind] = told[str(file)]["kinds"]  # nobody has said of what kinds these rows are
    assert (kind["kind"], kind["rows"]) == ("all", len(expected.row_nll))
    assert kind["change"] == pytest.approx(expected.loss / told["base"]["loss"] - 1)


def test_score_against_another_says_who_would_win(
    playground: Playground, score: Callable[..., Result], tmp_path: Path
) -> None:
    assert playground.mine(0, OTHER, repo="rival").status == 0
    committed = playground.commitment(0)
    assert committed is not None
    repo, _, commit = committed.text.split(":")
    file = tmp_path / "data.jsonl"
    write_dataset(file, GOOD)
    done = score(str(file), "--against", f"{repo}@{commit}", "--seeds", "2", "--rows")
    assert done.exit_code == 0, done.stderr
    assert "What it helps" in done.stdout
    for said in ("Which rows help, by lines", "by script", "one turn", "100.0%", "How sure", "under seed 0"):
        assert said in done.stdout
    assert re.search(rf"Committed later than {repo}@{commit}, it wins under \d of 2 seeds", done.stdout)


def test_score_rows_tells_which_help_by_line_and_by_group(
    score: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "data.jsonl"
    write_dataset(file, [*STRANGE, *GOOD])
    done = score(str(file), "--rows", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)["rows"]
    good, strange = told["groups"]["lines"]
    assert (good["name"], strange["name"]) == ("9 to 16", "1 to 8")
    assert good["help"] > max(0.0, 2 * strange["help"])
    assert good["share"] + strange["share"] == pytest.approx(1.0)
    values = {each["line"]: each["value"] for each in told["lines"]}
    tokens = sum(each["tokens"] for each in told["lines"] if each["line"] > 8)
    assert good["help"] == pytest.approx(sum(values[line] for line in range(9, 17)) / tokens)
    assert max(values, key=lambda line: values[line]) == told["best_lines"][0] > 8


def test_score_of_an_invalid_dataset_says_why_before_anything_is_measured(
    score: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    done = score(str(file))
    assert done.exit_code != 0
    assert "line 1" in done.stderr and "base model" not in done.stdout
