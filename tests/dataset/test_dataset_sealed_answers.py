"""Rows with answers of the sealed set: counted and left out like the others, and never identified."""

import json
from pathlib import Path

import pytest

from flockoff.competition import Contamination, Limits
from flockoff.dataset import EvaluationAnswers, FoundAnswer, Judgement, contamination_fault, judge_dataset
from flockoff.errors import Reason
from flockoff.text import printable
from tests.support.dataset_texts import row_of
from tests.support.toy_encoder import CharacterEncoder

PUBLIC = "the quick brown fox jumps over the lazy dog every single morning"
SEALED = "seven grey herons stood without a sound in the shallow evening water"
RULES = Contamination(max_rows=2, max_share=0.5)


def judged(directory: Path, *answers: str) -> Judgement:
    file = directory / "data.jsonl"
    turns = [
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}] for answer in answers
    ]
    file.write_text("".join(json.dumps({"conversations": each}) + "\n" for each in turns), encoding="utf-8")
    public, sealed = (EvaluationAnswers([row_of("a question", text)]) for text in (PUBLIC, SEALED))
    return judge_dataset(file, Limits(), RULES, CharacterEncoder(context_length=200), public, sealed)


def test_sealed_answers_up_to_the_bound_are_left_out(tmp_path: Path) -> None:
    judgement = judged(tmp_path, "fine", SEALED, "good", f"Well: {SEALED.upper()}!")
    assert judgement.fault is None
    assert judgement.left_out == (2, 4)


def test_sealed_answers_count_with_the_public_ones(tmp_path: Path) -> None:
    judgement = judged(tmp_path, PUBLIC, "fine", SEALED, "good", PUBLIC, "well")
    assert judgement.fault is not None
    assert judgement.fault.reason is Reason.CONTAMINATED
    assert judgement.left_out == (1, 3, 5)
    assert (
        "Answers of the evaluation set are in 2 of 6 rows: lines 1, 5; those of the sealed one in 1 other."
        in str(judgement.fault)
    )


@pytest.mark.parametrize("places", [(0, 1, 2), (3, 4, 5)])
def test_sealed_answers_fault_tells_how_many_and_neither_which_nor_what(
    tmp_path: Path, places: tuple[int, ...]
) -> None:
    texts = [SEALED if place in places else f"answer {place}" for place in range(9)]
    fault = judged(tmp_path, *texts).fault
    assert fault is not None
    assert fault.message == "Answers of the sealed evaluation set are in 3 of 9 rows."
    assert not any(word in printable(str(fault), 1000) for word in SEALED.split() if len(word) > 3)


def test_contamination_fault_sealed_rows_alone_are_bounded_by_share_too() -> None:
    one, other = FoundAnswer(1, 1, 0.5), FoundAnswer(2, 2, 0.5)
    assert contamination_fault([], 4, RULES, sealed=[one, other]) is None
    assert contamination_fault([], 3, RULES, sealed=[one, other]) is not None
    assert contamination_fault([one], 3, RULES, sealed=[other]) is not None
