"""Games small enough to compute by hand."""

from collections.abc import Sequence
from typing import Any

from flockoff.competition import Scoring
from flockoff.simulate.noise import NoiseModel
from flockoff.simulate.population import GameDataset, Miner, Move, Strategy
from flockoff.simulate.scenario import Miners, Scenario, Validators

NO_NOISE = NoiseModel(seed=0.0, harm=0.0, correlation=0.0, hardware=0.0)
LONELY = Miners(
    total=1,
    exact_copiers=0,
    disguised_copiers=0,
    sybils=0,
    contaminators=0,
    spammers=0,
    sleepers=0,
    newcomers=0,
)


def honest_validators(total: int) -> Validators:
    return Validators(total=total, weight_copiers=0, dishonest=0, flaky=0)


def silent_game(epochs: int, validators: Validators | None = None, **scoring: Any) -> Scenario:
    """Without noise, and with one honest validator unless told otherwise; miners are given to ``play``."""
    return Scenario(
        epochs=epochs,
        miners=LONELY,
        validators=validators or honest_validators(1),
        noise=NO_NOISE,
        scoring=Scoring(**scoring),
    )


def miner(
    name: str,
    change: float,
    *,
    epoch: int = 0,
    offset: int = 0,
    content: str | None = None,
    strategy: Strategy = Strategy.HONEST,
) -> Miner:
    """A miner with one dataset, called like itself; its content is its own unless told otherwise."""
    return Miner(name, strategy, (Move(epoch, offset, GameDataset(name, change, content or name)),))


def earned(history_miners: Sequence[Miner], incentive: Sequence[float]) -> dict[str, float]:
    return {miner.hotkey: float(share) for miner, share in zip(history_miners, incentive, strict=True)}
