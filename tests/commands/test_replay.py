"""A replay's output, and when it agrees; tests/neurons/test_two_validators.py has real ones."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import Result

from flockoff.commands.replaying import TOLERANCE, Difference, compared, replayed
from flockoff.errors import UsageError
from flockoff.records import ComputeDevice, Measurement
from tests.support.ledger_records import evaluation, measurement
from tests.support.stand_in import StandInEvaluator

Flockoff = Callable[..., Result]
STORED = measurement(2.0)


def on_another_machine(stored: Measurement) -> Measurement:
    return replace(
        stored,
        provenance=replace(stored.provenance, device=ComputeDevice("cuda"), libraries={"torch": "3.0"}),
    )


def test_compared_same_numbers_agree_bit_for_bit_wherever_they_were_made() -> None:
    assert compared(STORED, STORED).bit_for_bit
    elsewhere = compared(STORED, on_another_machine(STORED))
    assert elsewhere.bit_for_bit and elsewhere.agrees
    assert elsewhere.differences == (
        Difference("device", "cpu", "cuda"),
        Difference("torch", "2.15.0", "3.0"),
        Difference("peft", "0.21.0", "none"),
    )


def test_compared_last_digit_agrees_only_where_something_explains_it() -> None:
    off = replace(STORED, loss=STORED.loss * (1 + 1e-9))
    assert not compared(STORED, off).agrees
    assert compared(STORED, on_another_machine(off)).agrees
    assert compared(STORED, on_another_machine(off)).change == pytest.approx(1e-9)


def test_compared_more_than_the_tolerance_never_agrees() -> None:
    off = replace(STORED, loss=STORED.loss * (1 + 2 * TOLERANCE))
    assert not compared(STORED, on_another_machine(off)).agrees


def test_compared_one_row_off_is_not_bit_for_bit() -> None:
    off = replace(STORED, row_nll=(0.1, 2.5e-300, 0.5))
    found = compared(STORED, off)
    assert not found.bit_for_bit
    assert found.largest_row_change == pytest.approx(0.5)


def test_compared_without_stored_rows_goes_by_the_losses() -> None:
    found = compared(replace(STORED, row_nll=()), STORED)
    assert found.bit_for_bit
    assert found.largest_row_change is None


def test_compared_other_training_is_told() -> None:
    found = compared(STORED, replace(STORED, steps=32))
    assert found.differences == (Difference("optimizer steps", "16", "32"),)


def test_replayed_under_rules_with_another_base_model_is_refused() -> None:
    evaluator = StandInEvaluator(lambda _content, _seed: 1.5)
    with pytest.raises(UsageError, match=r"base model Qwen.*rules given have none"):
        replayed(evaluation("ann"), Path("data.jsonl"), evaluator, lambda _: None, lambda: False)
    assert evaluator.evaluated == []


def test_replay_list_names_the_evaluations(flockoff: Flockoff) -> None:
    told = json.loads(flockoff("replay", "--list", "--json").stdout)
    assert [(each["id"], each["evaluation"]["hotkey"]) for each in told] == [(2, "bobbybob"), (1, "annabel")]
    lines = flockoff("replay", "--list").stdout.splitlines()
    [ann] = [line for line in lines if "annab…abel" in line]
    assert "1.500000" in ann and "3823750022" in ann


def test_replay_of_an_unknown_evaluation_is_a_usage_error(flockoff: Flockoff) -> None:
    done = flockoff("replay", "7")
    assert done.exit_code == 2
    assert "no evaluation 7" in done.stderr and "--list" in done.stderr


def test_replay_without_an_id_is_a_usage_error(flockoff: Flockoff) -> None:
    done = flockoff("replay")
    assert done.exit_code == 2
    assert "--list" in done.stderr


def test_replay_under_another_competition_is_a_usage_error(flockoff: Flockoff, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('id = "other"\n', encoding="utf-8")
    done = flockoff("replay", "1", "--competition", str(rules))
    assert done.exit_code == 2
    assert "competition f127" in done.stderr
