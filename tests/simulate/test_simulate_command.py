"""``flockoff simulate`` on the command line."""

import importlib.util
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest
from typer.testing import Result

from flockoff.simulate.population import Strategy
from flockoff.simulate.scenario import PRESETS, load_scenario
from tests.support.typed import typed_commands

SMALL = ("--epochs", "5", "--miners", "45")


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """``flockoff simulate`` on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    with typed_commands() as run:
        yield partial(run, "simulate")


def test_simulate_prints_tables_and_promises(typed: Callable[..., Result]) -> None:
    done = typed(*SMALL)

    assert done.exit_code == 0
    for words in ("Incentive by strategy", "further sybil", "weight copier", "tau is at least"):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_simulate_json_has_the_scenario_and_the_outcome(typed: Callable[..., Result]) -> None:
    done = typed(*SMALL, "--json", "--seed", "3")

    told = json.loads(done.stdout)
    assert (told["seed"], told["scenario"]["epochs"], told["scenario"]["miners"]["total"]) == (3, 5, 45)
    assert sum(told["outcome"]["shares"].values()) + told["outcome"]["burned"] == pytest.approx(1)
    assert len(told["outcome"]["validators"]) == 5


@pytest.mark.slow
def test_simulate_sweep_json_has_every_trial(typed: Callable[..., Result]) -> None:
    done = typed("--scenario", "honest", "--epochs", "2", "--miners", "8", "--sweep", "--json")

    trials = json.loads(done.stdout)["trials"]
    assert {trial["constant"] for trial in trials} == {
        "timestamp_epsilon",
        "prize_scale",
        "crowd_scale",
        "head_start",
        "score_decay",
        "consensus_blend",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scenario", "nobody"), "There is no scenario 'nobody'"),
        (("--validators", "3"), "a total of 3 leaves no honest one. Give at least 4 validators"),
        (("--miners", "16"), "a total of 16 leaves no honest one. Give at least 39 miners"),
    ],
)
def test_simulate_impossible_game_is_refused_in_one_line(
    typed: Callable[..., Result], arguments: tuple[str, ...], message: str
) -> None:
    done = typed(*arguments)

    assert done.exit_code == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_simulate_help_names_every_preset(typed: Callable[..., Result]) -> None:
    done = typed("--help")

    assert all(name in done.stdout for name in PRESETS)


def test_load_scenario_file_changes_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "game.toml"
    file.write_text("epochs = 7\n[miners]\nsybils = 2\n[scoring]\ntemperature = 0.1\n[noise]\nseed = 0.01\n")

    scenario = load_scenario(str(file))

    assert (scenario.epochs, scenario.miners.sybils, scenario.miners.spammers) == (7, 2, 3)
    assert (scenario.scoring.temperature, scenario.noise.seed) == (0.1, 0.01)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_simulate_pictures_tell_strategies_apart() -> None:
    from flockoff.simulate.pictures import colours_of

    played = [*Strategy][:10]  # no preset has more
    colours = list(colours_of(played).values())
    assert min(math.dist(one, other) for one, other in combinations(colours, 2)) > 0.2
    assert all(math.hypot(*colour) > 0.3 for colour in colours)  # black is what is burned


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_simulate_pictures_are_png_files(typed: Callable[..., Result], tmp_path: Path) -> None:
    done = typed(*SMALL, "--pictures", str(tmp_path / "new" / "folder"))

    assert done.exit_code == 0
    pictures = sorted((tmp_path / "new" / "folder").iterdir())
    assert [picture.name for picture in pictures] == ["incentive.png", "quality.png", "vtrust.png"]
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert all(str(picture) in done.stderr for picture in pictures)


@pytest.mark.slow
def test_simulate_by_a_competition_plays_the_game_twice(typed: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[scoring]\npay = "win_rate"\n')
    scenario = ("--scenario", "twenty-ahead", "--epochs", "5", "--competition", str(file))

    done = typed(*scenario, "--json")

    own, changed = json.loads(done.stdout)
    assert [each["scenario"]["scoring"]["pay"] for each in (own, changed)] == ["distance", "win_rate"]
    name = "one owner's best"
    assert changed["outcome"]["shares"][name] > own["outcome"]["shares"][name] > 0
    said = typed(*scenario).stdout
    shown = [f"{each['outcome']['shares'][name]:.2%}" for each in (own, changed)]
    assert re.search(rf"{name} +{shown[0]} +{shown[1]}", said)
