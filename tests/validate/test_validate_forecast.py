import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flockoff.competition import BaseModel, Competition
from flockoff.ledger import Ledger
from flockoff.records import Measurement, Progress
from flockoff.validate.forecast import forecast_queue
from tests.support.arena import Arena
from tests.support.ledger_records import (
    EPOCH,
    begin,
    evaluate,
    evaluation,
    measurement,
    model_id,
    open_ledger,
    settlement,
)
from tests.support.stand_in import StandInEvaluator

RULES = Competition()


def fill(ledger: Ledger, *, device: str = "cpu") -> None:
    """A base model that is measured in 5 s, and two datasets: 100 tokens in 6 s, 300 tokens in 8 s."""
    ledger.record_base_loss(replace(measurement(2.0), seconds=5.0, train_tokens=0, row_nll=()))
    begin(ledger)
    for hotkey, commit, tokens, seconds in (("ann", "a", 100, 6.0), ("bob", "b", 300, 8.0)):
        measured = replace(measurement(device=device), train_tokens=tokens, seconds=seconds)
        evaluate(ledger, replace(evaluation(hotkey), model_id=model_id(commit), measurement=measured))


def test_forecast_takes_pace_and_sizes_from_the_ledger(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        fill(ledger)
        queue = [model_id("b"), model_id("c")]
        made = forecast_queue(ledger, RULES, queue, 10.0, workers=1, checked={})
    assert made is not None
    assert (made.places, made.finished, made.unseen, made.assumed_tokens) == (2, 1, 1, 300)
    assert made.seconds == pytest.approx(5 + 300 * 0.01)
    assert made.seconds_for_all == pytest.approx(16.0)
    assert made.memory is not None
    assert f"training needs about {made.memory / 2**30:.1f} GiB" in made.sentence()


def test_forecast_goes_by_the_sizes_of_what_is_checked(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        fill(ledger)
        made = forecast_queue(ledger, RULES, [model_id("c")], 10.0, workers=1, checked={model_id("c"): 450})
    assert made is not None
    assert (made.unseen, made.tokens, made.finished) == (0, 450, 1)


def test_forecast_without_evaluations_on_this_kind_of_device_is_none(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        assert forecast_queue(ledger, RULES, [model_id()], 10.0, workers=1, checked={}) is None
        fill(ledger, device="cuda NVIDIA GeForce RTX 4090")
        assert forecast_queue(ledger, RULES, [model_id()], 10.0, workers=1, checked={}) is None


def test_forecast_of_a_new_machine_goes_by_what_its_worker_tried(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        fill(ledger, device="cuda NVIDIA GeForce RTX 4090")
        queue = [model_id("c")]
        made = forecast_queue(
            ledger, RULES, queue, 10.0, workers=1, checked={model_id("c"): 100}, calibrated=0.02
        )
    assert made is not None and made.seconds == pytest.approx(5 + 100 * 0.02)


def test_forecast_of_a_base_model_of_unknown_size_leaves_the_memory_out(tmp_path: Path) -> None:
    other = Competition(base_model=BaseModel(repo="ann/model", revision="0" * 40))
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        fill(ledger)
        made = forecast_queue(ledger, other, [model_id()], 10.0, workers=1, checked={})
    assert made is not None and made.memory is None
    assert "GiB" not in made.sentence()


def test_forecast_looks_back_into_epochs_that_are_closed(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        fill(ledger)
        ledger.close_epoch(settlement(EPOCH.start_block, scores={}), block=EPOCH.end_block)
        assert forecast_queue(ledger, RULES, [model_id()], 10.0, workers=1, checked={}) is not None


class TriesFirst(StandInEvaluator):
    """Knows its pace once a worker has started, which the base model's own loss has it do."""

    def base_loss(
        self, *, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
    ) -> Measurement:
        self.seconds_per_token = 0.5
        return super().base_loss(on_progress=on_progress, should_stop=should_stop)


@pytest.mark.slow
def test_forecast_of_the_first_epoch_on_a_new_card_waits_for_what_its_worker_tried(
    arena: Arena, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flockoff.validate.forecast")
    arena.submit(0, "good", loss=1.0)

    arena.play_epoch(arena.validator(evaluator=TriesFirst(lambda content, seed: 1.0)))

    said = [record.getMessage() for record in caplog.records if record.name == "flockoff.validate.forecast"]
    assert said
    assert all(message.startswith("Forecast: ") for message in said)
