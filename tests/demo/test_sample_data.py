import json
from pathlib import Path

import pytest

from flockoff.competition import Contamination, Limits
from flockoff.dataset import AnswerSearch, EvaluationAnswers, content_hash, load_rows
from flockoff.flags import PROJECT_ROOT
from flockoff.localnet.sample_data import write_sample_datasets
from flockoff.records import Row


def samples(directory: Path) -> dict[str, list[Row]]:
    return {
        sample.name: load_rows(sample.path, Limits(), frozenset())
        for sample in write_sample_datasets(directory)
    }


def test_sample_datasets_are_valid_and_only_the_copy_shares_rows(tmp_path: Path) -> None:
    rows = samples(tmp_path)
    assert content_hash(rows["copy"]) == content_hash(rows["good"])
    assert rows["copy"] != rows["good"]
    for one, other in (("good", "small"), ("good", "noise"), ("small", "noise")):
        assert not set(rows[one]) & set(rows[other])
    assert len(rows["small"]) < len(rows["good"])


def test_sample_noise_answers_with_the_words_of_other_answers(tmp_path: Path) -> None:
    noise = samples(tmp_path)["noise"]
    lines = (PROJECT_ROOT / "flockoff/localnet/samples/conversations.jsonl").read_text(encoding="utf-8")
    words_by_question = {
        turns[at]["content"]: sorted(turns[at + 1]["content"].split())
        for turns in (json.loads(line)["conversations"] for line in lines.splitlines())
        for at in range(0, len(turns), 2)
    }
    for row in noise:
        for asked, answered in zip(row.turns[::2], row.turns[1::2], strict=True):
            words = sorted(answered.content.split())
            assert words in words_by_question.values()
            assert words != words_by_question[asked.content]


@pytest.mark.slow
def test_sample_datasets_contain_nothing_of_the_evaluation_set(tmp_path: Path) -> None:
    evaluation = load_rows(PROJECT_ROOT / "eval_data" / "data.jsonl", Limits(), frozenset())
    answers = EvaluationAnswers(evaluation)
    for rows in samples(tmp_path).values():
        search = AnswerSearch(answers, Contamination())
        for line, row in enumerate(rows, start=1):
            search.add(line, row, 0)
        assert search.found() == ()
