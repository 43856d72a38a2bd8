"""A loss that is not a number is nobody's score, and no miner's fault."""

from pathlib import Path

import pytest
import torch

from flockoff.errors import EvaluationFault
from flockoff.training.messages import Assignment, Request, decode_reply, encode_reply
from flockoff.training.rows import training_rows, write_rows
from flockoff.training.session import Session
from tests.support.tiny_model import row, rules, write_dataset

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")]


@pytest.mark.parametrize("factor", [float("inf"), float("nan"), 3e38], ids=str)
def test_session_loss_that_is_not_finite_is_a_fault_of_the_evaluation(
    model_dir: Path, evaluation_file: Path, tmp_path: Path, factor: float
) -> None:
    dataset = tmp_path / "data.jsonl"
    content_hash = write_dataset(dataset, [row(f"Say {n}.", "yes " * n) for n in range(1, 9)])
    session = Session.load(Assignment(rules(evaluation_file), str(model_dir), str(evaluation_file), "cpu", 1))
    encoded = training_rows(dataset, content_hash, session.competition.limits, session.encoder)
    write_rows(encoded, tmp_path / "rows.npz")
    healthy = session.measure(Request(str(tmp_path / "rows.npz"), seed=7), lambda _: None)

    head = session.model.head
    kept = head.clone()
    with torch.no_grad():
        head.mul_(factor)
    for request, remedy in (
        (Request(str(tmp_path / "rows.npz"), seed=7), "training.learning_rate"),
        (Request(), "base model"),
    ):
        with pytest.raises(EvaluationFault, match=r"loss is (nan|inf)") as caught:
            session.measure(request, lambda _: None)
        assert remedy in caught.value.remedy
        assert isinstance(decode_reply(encode_reply(caught.value)), EvaluationFault)

    with torch.no_grad():
        head.copy_(kept)
    again = session.measure(Request(str(tmp_path / "rows.npz"), seed=7), lambda _: None)
    assert again.loss == healthy.loss  # nothing of it stays behind
