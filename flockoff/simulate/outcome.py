"""A game's outcome in numbers, and whether the mechanism kept its promises."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flockoff.simulate.game import History, Matrix, ValidatorRole
from flockoff.simulate.population import CHEATS, Strategy
from flockoff.simulate.scenario import Scenario

CHEATS_MAY_EARN = 0.01  # of all incentive
LEAST_TAU = 0.9
NEWCOMER_EPOCHS = 20
LEAST_VALIDATOR_TRUST = 0.9
FINAL_EPOCHS = 20  # over which the newcomer's final share is averaged


@dataclass(frozen=True, slots=True)
class ValidatorOutcome:
    """``trust`` and ``dividends`` are means over all epochs, ``low_trust`` is the 5th percentile of trust."""

    role: ValidatorRole
    trust: float
    low_trust: float
    dividends: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One game. Shares are of all incentive, including burned, over all epochs. A measure is None if there is
    nothing to measure: no newcomer, or no two honest miners far enough apart.
    """

    shares: Mapping[Strategy, float]
    hotkeys: Mapping[Strategy, int]
    burned: float
    cheats: float  # share of copiers, contaminators and all sybils but the first
    tau: float | None
    newcomer_share: float | None
    newcomer_epochs: int | None
    validators: tuple[ValidatorOutcome, ...]
    promises: Mapping[str, bool | None]  # each promise, and whether it holds


def measure(scenario: Scenario, history: History) -> Outcome:
    """The outcome of a game of ``scenario``."""
    total = float(history.incentive.sum() + history.burned.sum())
    earned = history.incentive.sum(axis=0) / total if total else np.zeros(len(history.miners))
    present = [strategy for strategy in Strategy if strategy in {miner.strategy for miner in history.miners}]
    of = {
        strategy: np.array([miner.strategy is strategy for miner in history.miners]) for strategy in present
    }
    shares = {strategy: float(earned[of[strategy]].sum()) for strategy in present}
    cheats = sum(shares.get(strategy, 0.0) for strategy in CHEATS)
    honest = of.get(Strategy.HONEST, np.zeros(len(history.miners), dtype=bool))
    changes = np.array([miner.submissions[-1].dataset.change for miner in history.miners])
    tau = kendall_tau(-changes[honest], earned[honest], min_gap=2 * scenario.noise.seed)
    newcomer_share, newcomer_epochs = _newcomer(scenario, history)
    validators = _validators(history)
    trust = min((each.trust for each in validators if each.role is ValidatorRole.HONEST), default=None)
    return Outcome(
        shares=shares,
        hotkeys={strategy: int(of[strategy].sum()) for strategy in present},
        burned=float(history.burned.sum()) / total if total else 0.0,
        cheats=cheats,
        tau=tau,
        newcomer_share=newcomer_share,
        newcomer_epochs=newcomer_epochs,
        validators=validators,
        promises={
            f"copiers, further sybils and contaminators earn under {CHEATS_MAY_EARN:.0%}": (
                cheats < CHEATS_MAY_EARN if of.keys() & set(CHEATS) else None
            ),
            f"better data earns more: tau is at least {LEAST_TAU}": None if tau is None else tau >= LEAST_TAU,
            f"the best newcomer has half of its final share within {NEWCOMER_EPOCHS} epochs": (
                None
                if newcomer_share is None
                else newcomer_epochs is not None and newcomer_epochs <= NEWCOMER_EPOCHS
            ),
            f"honest validators keep a vtrust above {LEAST_VALIDATOR_TRUST} on average": (
                None if trust is None else trust > LEAST_VALIDATOR_TRUST
            ),
        },
    )


def kendall_tau(quality: Matrix, earned: Matrix, *, min_gap: float) -> float | None:
    """Kendall's tau-a over the pairs whose ``quality`` differs by more than ``min_gap``.

    It is (concordant - discordant pairs) / all these pairs, in [-1, 1]; None without such a pair. A pair that
    earned the same is neither, and so counts against the mechanism.
    """
    gaps = quality[:, None] - quality[None, :]
    apart = gaps > min_gap
    if not apart.any():
        return None
    return float(np.sign(earned[:, None] - earned[None, :])[apart].mean())


def epochs_until(series: Matrix, level: float) -> int | None:
    """Epochs until ``series``, one value an epoch, reaches ``level``, or None."""
    reached = np.flatnonzero(series >= level)
    return int(reached[0]) + 1 if len(reached) else None


def _newcomer(scenario: Scenario, history: History) -> tuple[float | None, int | None]:
    """The first newcomer's final share, and the epochs from its commitment until it had half of that."""
    come = scenario.miners.newcomers_come
    columns = [index for index, miner in enumerate(history.miners) if miner.strategy is Strategy.NEWCOMER]
    after = history.incentive[come:, columns[0]] if columns else np.zeros(0)  # row e is epoch e + 1
    if len(after) < FINAL_EPOCHS:
        return None, None
    final = float(after[-FINAL_EPOCHS:].mean())
    return final, epochs_until(after, final / 2) if final > 0 else None


def _validators(history: History) -> tuple[ValidatorOutcome, ...]:
    return tuple(
        ValidatorOutcome(
            role,
            float(history.validator_trust[:, number].mean()),
            float(np.percentile(history.validator_trust[:, number], 5)),
            float(history.dividends[:, number].mean()),
        )
        for number, role in enumerate(history.roles)
    )
