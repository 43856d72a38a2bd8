"""Compares the eligible datasets of an epoch with each other."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import Scoring
from flockoff.records import Verdict
from flockoff.scoring import behind, effective_losses, epoch_pay, win_matrix, win_rates


@dataclass(frozen=True, slots=True)
class Contest:
    """Who beats whom among n competitors. All arrays are in the order of ``verdicts``."""

    verdicts: tuple[Verdict, ...]  # the eligible ones
    wins: NDArray[np.bool_]  # (n, n): whether i beats j
    # (n, n): how far i's loss is below j's, relative to i's, both as they count in this comparison; positive
    # where i wins
    margins: NDArray[np.float64]
    win_rates: NDArray[np.float64]  # (n,)
    shares: NDArray[np.float64]  # (n,)
    # (n,): how far each is behind the best, in clear wins; None where pay does not depend on it
    behind: NDArray[np.float64] | None

    @property
    def rates_by_hotkey(self) -> dict[str, float]:
        return self._by_hotkey(self.win_rates)

    @property
    def shares_by_hotkey(self) -> dict[str, float]:
        return self._by_hotkey(self.shares)

    @property
    def behind_by_hotkey(self) -> dict[str, float]:
        return {} if self.behind is None else self._by_hotkey(self.behind)

    def _by_hotkey(self, values: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip((verdict.hotkey for verdict in self.verdicts), values.tolist(), strict=True))


def contest(verdicts: Iterable[Verdict], rules: Scoring) -> Contest:
    """The contest of the eligible ones among ``verdicts``, possibly none."""
    competing = tuple(verdict for verdict in verdicts if verdict.standing == "eligible")
    losses = np.array([verdict.loss for verdict in competing], dtype=np.float64)
    blocks = np.array([verdict.block for verdict in competing], dtype=np.int64)
    effective = effective_losses(losses, blocks, rules.timestamp_epsilon)
    with np.errstate(divide="ignore", invalid="ignore"):
        margins = np.where(effective > 0, effective.T / effective - 1, 0.0)
    wins = win_matrix(losses, blocks, rules.timestamp_epsilon)
    rates = win_rates(wins)
    distance = behind(losses, rules.timestamp_epsilon) if rules.pay == "distance" else None
    return Contest(competing, wins, margins, rates, epoch_pay(losses, blocks, rules), distance)


def later_beats(loss: float, earlier_loss: float, rules: Scoring) -> bool:
    """Whether a dataset of ``loss`` beats one committed before it."""
    losses, blocks = np.array([loss, earlier_loss]), np.array([1, 0])
    return bool(win_matrix(losses, blocks, rules.timestamp_epsilon)[0, 1])
