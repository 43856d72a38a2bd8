"""The noise model: how far a measured loss is from a dataset's true effect."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flockoff.simulate.checks import require

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseModel:
    """Standard deviations, all relative to the base model's loss.

    A dataset's loss in an epoch is ``base_loss`` * (1 + change + noise), where ``change`` is training's
    average effect on the loss: -0.06 is 6 % less. One part of the noise comes from the epoch's seed and is
    the same for all validators. A fraction ``correlation`` of its variance is also common to all datasets of
    the epoch, which hardly changes who beats whom. The other part comes from a validator's hardware.

    Where the numbers come from (SmolLM2-135M-Instruct in fp32, two CPU cores; .github/docs/noise.md has the
    tables):

    - ``base_loss``: the untrained base measured 2.2871 nats per assistant token.
    - ``seed``: the most that was seen of datasets that help, with few large steps (learning rate 2e-3):
      0.0033 over 4 datasets under 9 seeds, and 0.0030 and 0.0047 from the ranges of two others under 6
      seeds; 0.0035 pooled. In 12 steps at the main competition's rate it was 0.0002.
    - ``correlation``: not distinguishable from 0: -0.11 over the same 4 datasets, from -0.62 to +0.20 by
      pair. 0 is also the hardest case for the mechanism.
    - ``harm``: what a harmful dataset adds to that, per unit of ``change``. Noise under 6 seeds gave
      +4.8 to +12.7 % with large steps: 0.031 at a mean of 0.0875.
    - ``hardware``: another instruction set moved a loss by 4e-7, another layout of the batch by 2e-5 to 1e-4.
      The default is the worst of these.
    """

    base_loss: float = 2.2871  # nats per assistant token
    seed: float = 0.0035
    harm: float = 0.35
    correlation: float = 0.0
    hardware: float = 1e-4

    def __post_init__(self) -> None:
        require(self.base_loss > 0, "noise.base_loss must be positive")
        require(min(self.seed, self.harm, self.hardware) >= 0, "noise must not be negative")
        require(0 <= self.correlation <= 1, "noise.correlation must be in [0, 1]")

    @property
    def own(self) -> float:
        """Standard deviation of a useful dataset's own noise, which can flip a comparison."""
        return self.seed * float(np.sqrt(1 - self.correlation))


def seed_losses(model: NoiseModel, changes: Vector, rng: np.random.Generator) -> Vector:
    """One epoch's losses, nats per token, as reference hardware measures them. ``changes``: (n,)."""
    deviation = model.seed + model.harm * np.maximum(changes, 0.0)
    common = rng.standard_normal()
    own = rng.standard_normal(len(changes))
    noise = deviation * (np.sqrt(model.correlation) * common + np.sqrt(1 - model.correlation) * own)
    losses: Vector = model.base_loss * np.maximum(1 + changes + noise, 0.0)
    return losses


def on_hardware(model: NoiseModel, losses: Vector, rng: np.random.Generator) -> Vector:
    """The same losses as one validator's hardware measures them."""
    measured: Vector = losses * np.maximum(1 + model.hardware * rng.standard_normal(len(losses)), 0.0)
    return measured
