"""The arithmetic of ``flockoff score``, and its cache."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flockoff.commands.measuring import (
    CheckedFile,
    KindGain,
    Measurements,
    expected_seconds,
    extremes,
    gains,
    measured,
    spread,
)
from flockoff.commands.tables import duration, sparkline
from flockoff.competition import Competition, Lora
from flockoff.dataset import Judgement
from flockoff.records import DatasetReport
from tests.support.ledger_records import measurement
from tests.support.stand_in import StandInEvaluator

BASE = replace(measurement(2.0), row_nll=(1.0, 2.0, 4.0, 0.0), seconds=10.0)
AFTER = replace(measurement(1.5), row_nll=(0.5, 3.0, 3.0, 0.0))
KINDS = ["code", "prose", "code", "prose"]


def candidate(content_hash: str = "a" * 64, left_out: tuple[int, ...] = ()) -> CheckedFile:
    report = DatasetReport(4, 100, 1000, 500, 0, content_hash)
    return CheckedFile("mine", Path("data.jsonl"), Judgement(report, None, left_out))


def test_gains_are_the_change_of_each_kinds_summed_loss() -> None:
    code, prose = gains(BASE, [AFTER], KINDS)
    assert (code.kind, code.rows, code.helped) == ("code", 2, 2)
    assert code.change == pytest.approx(-0.3)
    assert prose == KindGain("prose", 2, 0, 0.5)
    worse = replace(AFTER, row_nll=(1.5, 1.0, 5.0, 0.0))
    assert gains(BASE, [AFTER, worse], KINDS)[0] == KindGain("code", 2, 0, 0.0)


def test_gains_without_losses_of_rows_are_none() -> None:
    assert gains(replace(BASE, row_nll=()), [AFTER], KINDS) == []
    assert gains(BASE, [replace(AFTER, row_nll=())], KINDS) == []


def test_extremes_are_the_rows_changed_most_and_none_twice() -> None:
    assert extremes(BASE, [AFTER], 1) == [(1, -0.5), (2, 0.5)]
    assert extremes(BASE, [AFTER], 5) == [(1, -0.5), (3, -0.25), (2, 0.5)]


def test_spread_is_mean_and_sample_deviation() -> None:
    assert spread([1.0]) == (1.0, None)
    assert spread([1.0, 3.0]) == (2.0, math.sqrt(2.0))


def test_expected_seconds_grow_with_tokens_and_passes() -> None:
    # 10 s for 1,000 tokens evaluated: 2.8 * 10 ms for each of 2 * 500 trained on, and the evaluation again.
    assert expected_seconds(500, 2, BASE, 1000) == pytest.approx(38.0)


def test_measured_once_is_found_again_for_the_same_only(tmp_path: Path) -> None:
    evaluator = StandInEvaluator(lambda _, seed: 1.0 + seed)
    base = evaluator.base_loss(on_progress=lambda _: None, should_stop=lambda: False)
    rules = Competition()

    def once(which: CheckedFile, seed: int, competition: Competition = rules) -> float:
        kept = Measurements(tmp_path, competition, base)
        return measured(which, seed, evaluator, kept, lambda _: None, lambda: False).loss

    for _ in range(2):
        assert [once(candidate(), seed) for seed in (1, 2)] == [2.0, 3.0]
    assert len(evaluator.evaluated) == 2
    once(candidate(left_out=(3,)), 1)
    once(candidate("b" * 64), 1)
    once(candidate(), 1, replace(rules, lora=Lora(rank=8)))
    assert len(evaluator.evaluated) == 5
    for file in tmp_path.iterdir():
        file.write_text("{", encoding="utf-8")
    assert once(candidate(), 1) == 2.0
    assert len(evaluator.evaluated) == 6


@example([0.0, 2.225073858507e-311], 2)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(1, 40))
def test_sparkline_is_as_long_as_its_values_within_the_width(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == min(len(values), width)
    assert set(line) <= set("▁▂▃▄▅▆▇█")


def test_sparkline_rises_with_its_values() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([5.0, 5.0], 8) == "▁▁"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0.4, "0 s"),
        (59.6, "1 min 00 s"),
        (130, "2 min 10 s"),
        (11_100, "3 h 05 min"),
        (90_000, "1 d 01 h"),
    ],
)
def test_duration_shows_the_two_largest_units(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown
