"""An evaluator that trains nothing and returns given losses: for tests and simulations of whole epochs."""

from collections.abc import Callable
from pathlib import Path

from flockoff.errors import EvaluationStopped
from flockoff.ports import OnProgress, ShouldStop
from flockoff.records import ComputeDevice, Measurement, Precision, Progress, Provenance

BASE_LOSS = 2.0


class StandInEvaluator:
    """``loss_of`` gives the loss of a dataset by its content hash and seed, or raises what a worker would.

    ``evaluated`` lists the content hashes in the order in which they were asked for.
    """

    def __init__(self, loss_of: Callable[[str, int], float]) -> None:
        self._loss_of = loss_of
        self.devices = self.slots = 1
        self.seconds_per_token: float | None = None
        self.evaluated: list[str] = []

    def base_loss(self, *, on_progress: OnProgress, should_stop: ShouldStop) -> Measurement:
        return _measurement(BASE_LOSS, seed=0, steps=0)

    def evaluate(
        self,
        dataset: Path,
        content_hash: str,
        seed: int,
        *,
        tokens: int,
        left_out: tuple[int, ...] = (),
        on_progress: OnProgress,
        should_stop: ShouldStop,
    ) -> Measurement:
        if should_stop():
            raise EvaluationStopped("asked to stop before the evaluation began")
        self.evaluated.append(content_hash)
        loss = self._loss_of(content_hash, seed)
        on_progress(Progress("training", 1, 1, loss))
        return _measurement(loss, seed=seed, steps=1)

    def close(self) -> None:
        """There is nothing to stop."""


def _measurement(loss: float, *, seed: int, steps: int) -> Measurement:
    provenance = Provenance(
        code_version="stand-in",
        libraries={},
        device=ComputeDevice("none"),
        precision=Precision("float32", "float32", 0),
        base_model="none",
        evaluation_set="none",
        seed=seed,
    )
    return Measurement(
        loss=loss,
        eval_tokens=1,
        train_rows=0,
        train_tokens=0,
        steps=steps,
        seconds=0.0,
        provenance=provenance,
    )
