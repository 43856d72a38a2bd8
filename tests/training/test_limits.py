from math import inf

import psutil
import pytest

from flockoff.competition import Training
from flockoff.errors import EvaluationTooSlow
from flockoff.records import Progress
from flockoff.training.limits import AdaptiveLimits, Watch, WorkerLimits, machine_memory_limit
from flockoff.training.messages import WorkerFault

TRAINING = Training(context_length=100, batch_size=2, gradient_accumulation=5, epochs=2)  # 1000 tokens a step
LIMITS = WorkerLimits(dataset=3600, stalled=1800)


def test_pace_without_a_measurement_gives_the_general_limits() -> None:
    pace = AdaptiveLimits(LIMITS, TRAINING)
    assert pace.limits(10**6) == LIMITS
    pace.note(1000, 10)  # of no use before the evaluation set's own time is known
    assert pace.limits(10**6) == LIMITS


def test_pace_dataset_has_four_times_the_expected_within_its_bounds() -> None:
    pace = AdaptiveLimits(LIMITS, TRAINING)
    pace.note_base(20)
    for seconds in (120, 1000, 110):  # one evaluation met a busy machine
        pace.note(10_000, 20 + seconds)
    assert pace.limits(50_000).dataset == pytest.approx(4 * (20 + 5 * 120))
    assert pace.limits(100).dataset == 300
    assert pace.limits(10**7).dataset == 3600


@pytest.mark.parametrize(
    ("seconds", "tokens", "expected"),
    [
        (1000, 10_000, 1000),  # 0.1 s a token in two passes, 50 s a step
        (1000, 800, 800),  # the whole dataset is less than a full step
        (10, 10_000, 300),
        (10_000, 10_000, 1800),
    ],
)
def test_pace_step_has_twenty_times_what_a_full_one_takes_within_its_bounds(
    seconds: float, tokens: int, expected: float
) -> None:
    pace = AdaptiveLimits(LIMITS, TRAINING)
    pace.note_base(20)
    pace.note(10_000, 20 + seconds)
    assert pace.limits(tokens).stalled == pytest.approx(expected)


def test_pace_forgets_what_the_machine_was_like_long_ago() -> None:
    pace = AdaptiveLimits(WorkerLimits(dataset=10**9), TRAINING)
    pace.note_base(0)
    for seconds in (1000, 100):
        for _ in range(16):
            pace.note(1000, seconds)
    assert pace.limits(10_000).dataset == pytest.approx(4 * 1000)


def test_patience_with_a_worker_that_gives_no_sign_of_life_ends() -> None:
    patience = Watch(WorkerLimits(frozen=60))
    patience.listened(60)
    patience.check()
    patience.heard(None)
    patience.listened(60)
    patience.check()
    patience.listened(1)
    with pytest.raises(WorkerFault, match="gave no sign of life for 61 s") as caught:
        patience.check()
    assert caught.value.cause == "hung"


def test_patience_with_a_worker_that_lives_but_does_not_go_on_ends() -> None:
    patience = Watch(WorkerLimits(stalled=300))
    patience.listened(200)
    patience.heard(Progress("training", 3, 9))
    for _ in range(7):
        patience.check()
        patience.listened(50)
        patience.heard(None)
    with pytest.raises(WorkerFault, match="made no progress for 350 s, at training 3 of 9") as caught:
        patience.check()
    assert caught.value.cause == "hung"


def test_patience_with_a_worker_that_goes_on_for_too_long_ends_otherwise() -> None:
    patience = Watch(WorkerLimits(dataset=100))
    for step in range(6):
        patience.check()
        patience.listened(20)
        patience.heard(Progress("training", step, 9))
    with pytest.raises(EvaluationTooSlow, match="stopped after 120 s, at training 5 of 9"):
        patience.check()


def test_worker_limits_while_loading_leave_the_dataset_its_time() -> None:
    limits = WorkerLimits(dataset=10, loading=50, stalled=20, frozen=5).while_loading
    assert (limits.dataset, limits.stalled, limits.frozen) == (inf, 50, 5)


def test_memory_limit_is_below_what_the_machine_has() -> None:
    assert 0 < machine_memory_limit() < psutil.virtual_memory().total
