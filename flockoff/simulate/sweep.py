"""The effect of other constants on the same game."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flockoff.simulate.game import ValidatorRole, play
from flockoff.simulate.outcome import Outcome, measure
from flockoff.simulate.scenario import Scenario

# Around the defaults, which are tried with every constant. First those of the scenario's rule of pay.
SWEPT_BY_PAY: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "win_rate": {
        "timestamp_epsilon": (0.0, 0.0025, 0.005, 0.01, 0.02),
        "temperature": (0.02, 0.04, 0.08, 0.16, 0.32),
    },
    "distance": {
        "timestamp_epsilon": (0.001, 0.0025, 0.005, 0.01, 0.02),
        "prize_scale": (0.75, 1.0, 1.47, 2.0, 3.0),
        "crowd_scale": (0.1, 0.25, 0.5, 1.0),
        "head_start": (0.0, 0.25, 0.5, 1.0),
    },
}
SWEPT: Mapping[str, tuple[float, ...]] = {
    "score_decay": (0.0, 0.5, 0.8, 0.9, 0.95),
    "consensus_blend": (0.0, 0.1, 0.2, 0.4, 0.8),
}
GAMES = 5  # per value, each with another seed


@dataclass(frozen=True, slots=True)
class Trial:
    """One value of one constant: means over ``games`` games, ignoring None. ``trust`` is the honest
    validators', ``kept`` the share of games in which every promise held.
    """

    constant: str
    value: float
    default: bool
    games: int
    cheats: float
    tau: float | None
    newcomer_share: float | None
    newcomer_epochs: float | None
    trust: float
    kept: float


def sweep(
    scenario: Scenario, seed: int, games: int = GAMES, between_epochs: Callable[[], None] | None = None
) -> Iterator[Trial]:
    """A trial for every value, all on the same seeds: ``seed`` and those after it."""
    for constant, values in {**SWEPT_BY_PAY[scenario.scoring.pay], **SWEPT}.items():
        default = getattr(scenario.scoring, constant)
        for value in sorted({*values, default}):
            scoring = dataclasses.replace(scenario.scoring, **{constant: value})
            changed = dataclasses.replace(scenario, scoring=scoring)
            outcomes = [
                measure(changed, play(changed, seed + game, between_epochs=between_epochs))
                for game in range(games)
            ]
            yield _trial(constant, value, value == default, outcomes)


def _trial(constant: str, value: float, default: bool, outcomes: Sequence[Outcome]) -> Trial:
    trust = [
        each.trust for outcome in outcomes for each in outcome.validators if each.role is ValidatorRole.HONEST
    ]
    return Trial(
        constant=constant,
        value=value,
        default=default,
        games=len(outcomes),
        cheats=float(np.mean([outcome.cheats for outcome in outcomes])),
        tau=_mean([outcome.tau for outcome in outcomes]),
        newcomer_share=_mean([outcome.newcomer_share for outcome in outcomes]),
        newcomer_epochs=_mean([outcome.newcomer_epochs for outcome in outcomes]),
        trust=float(np.mean(trust)),
        kept=float(np.mean([False not in outcome.promises.values() for outcome in outcomes])),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
