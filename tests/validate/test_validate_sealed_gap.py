"""A dataset that gains on the public evaluation set only, where the competition has a sealed one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flockoff.competition import Competition, SealedSet
from flockoff.dataset import EvaluationAnswers
from flockoff.errors import Reason
from flockoff.records import Measurement
from tests.support.arena import EVALUATION_ROWS, Arena
from tests.support.stand_in import StandInEvaluator

ROWS = 64
SEALED = SealedSet(repo="owner/sealed", commit="0" * 40, sha256="0" * 64, weight=0.5)
BASE = 2.0
# Gains on the public and on the sealed set; with 64 rows each the margin is 5.2 points.
GAINS = {"honest": (0.08, 0.06), "paraphrased": (0.30, 0.10)}


class TwoSets(StandInEvaluator):
    """Measures by GAINS."""

    def __init__(self, arena: Arena) -> None:
        super().__init__(lambda content, _seed: self._blended(*GAINS[arena.contents[content]]))
        self._arena = arena

    def base_loss(self, **asked: Any) -> Measurement:
        return self._on_both(super().base_loss(**asked), 0.0, 0.0)

    def evaluate(self, dataset: Path, content_hash: str, seed: int, **asked: Any) -> Measurement:
        measured = super().evaluate(dataset, content_hash, seed, **asked)
        return self._on_both(measured, *GAINS[self._arena.contents[content_hash]])

    def _on_both(self, measured: Measurement, public: float, sealed: float) -> Measurement:
        return replace(
            measured,
            loss=self._blended(public, sealed),
            eval_tokens=ROWS,
            row_nll=(BASE * (1 - public),) * ROWS,
            sealed_loss=BASE * (1 - sealed),
        )

    def _blended(self, public: float, sealed: float) -> float:
        return SEALED.blend(BASE * (1 - public), BASE * (1 - sealed))


@pytest.mark.slow
def test_dataset_that_gains_far_more_on_the_public_set_is_contaminated(arena: Arena) -> None:
    for miner, topic in enumerate(GAINS):
        arena.submit(miner, topic)
    validator = arena.validator(
        evaluator=TwoSets(arena),
        competition=Competition(sealed=SEALED),
        sealed_answers=EvaluationAnswers(EVALUATION_ROWS * ROWS),
    )
    epoch = arena.play_epoch(validator)
    verdicts = {verdict.uid: verdict for verdict in validator.ledger.verdicts(epoch.start_block)}
    honest, paraphrased = verdicts[arena.uid(0)], verdicts[arena.uid(1)]
    assert (honest.standing, honest.reason) == ("eligible", None)
    assert (paraphrased.standing, paraphrased.reason) == ("at_fault", Reason.CONTAMINATED)
    assert "20.0 points apart where 5.2 are allowed" in paraphrased.detail
    assert arena.weights() == {arena.uid(0): 1.0}
    assert len(validator.ledger.evaluations(epoch.start_block)) == 2  # measured, and kept
