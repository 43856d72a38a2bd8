import json
from dataclasses import replace
from pathlib import Path

import pytest

from flockoff.competition import Contamination, Limits, load_competition
from flockoff.dataset import AnswerSearch, EvaluationAnswers, content_hash, load_rows
from flockoff.demo.paraphrase import paraphrased
from flockoff.demo.sealed import datasets_with_paraphrases, write_rules
from flockoff.flags import PROJECT_ROOT
from flockoff.localnet.network import local_competition
from flockoff.localnet.sample_data import sealed_sample, write_dataset, write_sample_datasets
from flockoff.records import Row, Turn


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
def test_public_search_finds_nothing_in_samples_and_all_paraphrases_but_in_the_sealed_demo(
    tmp_path: Path,
) -> None:
    evaluation = load_rows(PROJECT_ROOT / "eval_data" / "data.jsonl", Limits(), frozenset())
    answers = EvaluationAnswers(evaluation)

    def found(rows: list[Row], rules: Contamination) -> int:
        search = AnswerSearch(answers, rules)
        for line, row in enumerate(rows, start=1):
            search.add(line, row, 0)
        return len(search.found())

    local = load_competition(local_competition())
    demo = load_competition(write_rules(tmp_path / "rules.toml"))
    assert demo == replace(local, contamination=demo.contamination)
    sealed = write_dataset(tmp_path, "sealed", "", sealed_sample())
    datasets = {
        sample.name: load_rows(sample.path, Limits(), frozenset())
        for sample in [*datasets_with_paraphrases(tmp_path), sealed]
    }
    assert [*datasets] == ["good", "small", "noise", "reworded", "copy", "sealed"]
    paraphrases = datasets.pop("reworded")
    assert [found(rows, local.contamination) for rows in datasets.values()] == [0] * 5
    assert found(paraphrases, local.contamination) == len(paraphrases)
    assert found(paraphrases, demo.contamination) == 0


def test_paraphrases_replace_one_word_in_six_of_answers_by_others_words() -> None:
    answer = "seven grey herons in the shallow evening water stand as still as reeds"
    known = Row("Birds.", (Turn("user", "What is there to see?"), Turn("assistant", answer)))
    others = [Row(None, (Turn("user", "Other words?"), Turn("assistant", "Certainly plenty here.")))]
    rows = paraphrased([known], others)
    assert rows == paraphrased([known], others)
    assert {(row.system, row.turns[0]) for row in rows} == {(known.system, known.turns[0])}
    answers = [row.turns[1].content.split() for row in rows]
    assert len({tuple(words) for words in answers}) > 1
    for words in answers:
        pairs = list(zip(words, answer.split(), strict=True))
        changed = [place for place, (new, old) in enumerate(pairs) if new != old]
        assert changed == [0, 6, 12]
        assert {words[place] for place in changed} <= {"Other", "words", "Certainly", "plenty", "here"}


def test_sealed_sample_shares_no_row_with_the_datasets(tmp_path: Path) -> None:
    questions = {row["conversations"][0]["content"] for row in sealed_sample()}
    assert len(questions) == 8
    for rows in samples(tmp_path).values():
        assert not questions & {row.turns[0].content for row in rows}
