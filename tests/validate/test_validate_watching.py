"""An epoch's metrics and stable log events."""

import logging

import pytest

from tests.support.arena import Arena


@pytest.mark.slow
def test_epoch_shows_in_metrics_and_events(arena: Arena, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flockoff")
    told: list[int] = []
    arena.submit(0, "good", loss=1.0)
    arena.submit(1, "broken", rows='{"conversations": [}\n')
    validator = arena.validator(after_epoch=(told.append,))

    epoch = arena.play_epoch(validator)

    def value(name: str, **labels: str) -> float:
        return validator.metrics.registry.get_sample_value(f"flockoff_{name}", labels) or 0.0

    assert told == [epoch.start_block]
    assert value("epoch_start_block") == epoch.start_block
    assert value("epoch_end_block") == epoch.end_block
    assert epoch.start_block <= value("chain_block") <= epoch.end_block
    assert (value("epoch_places"), value("epoch_judged")) == (2, 2)
    assert value("queue_age_blocks") > 0
    assert value("eval_loss", uid=str(arena.uid(0))) == 1.0
    assert value("weight", uid=str(arena.uid(0))) == 1.0
    weight_shown = validator.metrics.registry.get_sample_value("flockoff_weight", {"uid": str(arena.uid(1))})
    assert weight_shown is None
    assert value("score", uid=str(arena.uid(0))) > 0 and value("stake") > 100
    assert value("evaluating_seconds_left") > 0
    assert f"Epoch {epoch.start_block}: 2 of 2 datasets have a verdict, " in caplog.text
    assert value("base_loss") == 2.0
    assert value("verdicts_total", standing="eligible", reason="") == 1
    assert value("verdicts_total", standing="at_fault", reason="not_json") == 1
    assert value("evaluation_seconds_count") == 1
    events = [record.event for record in caplog.records if hasattr(record, "event")]
    assert caplog.text.count("how long the queue will take is unknown") == 1
    for name in (
        "epoch_begun",
        "base_loss",
        "evaluation_started",
        "verdict",
        "progress",
        "epoch_closed",
        "weights_set",
    ):
        assert name in events
