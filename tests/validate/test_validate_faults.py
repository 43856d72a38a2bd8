"""Every fault around a validator: the weights are set, nothing is lost, no innocent miner is blamed."""

import logging
from collections.abc import Iterator

import pytest

from tests.support.arena import running_arena
from tests.support.fault_scenarios import MINERS, SCENARIOS, Outcome, Scenario, Stage, play, set_stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("faults")
    with running_arena(folder, miners=MINERS, tempo=2000, block_seconds=0.05) as arena:
        yield set_stage(arena)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_fault_costs_nobody_anything_and_the_weights_are_set(
    stage: Stage, scenario: Scenario, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flockoff")
    assert play(stage, scenario) == Outcome(True, 0, 0, 0)
    assert scenario.says in caplog.text
