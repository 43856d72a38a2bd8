import pytest

from flockoff.competition import Competition, SealedSet
from flockoff.errors import UsageError
from flockoff.planner.flops import Load
from flockoff.planner.hardware import GPUS, Gpu, find_gpu
from flockoff.planner.memory import memory_need
from flockoff.planner.model import KNOWN_SIZES
from flockoff.planner.paper import (
    ASSUMED_HOST_SECONDS,
    EVALUATION_SET,
    PaperPlan,
    evaluation_load,
    paper_plan,
    seconds_for_evaluating,
)

QWEN = KNOWN_SIZES["Qwen/Qwen2.5-1.5B-Instruct"]
DATASET = Load.uniform(10_000, 256, 0.5)
RULES = Competition()


def plan(gpu: Gpu, dataset: Load = DATASET, workers: int = 1, mfu: float = 0.5) -> PaperPlan:
    time_left = seconds_for_evaluating(360, 50)
    return paper_plan(QWEN, RULES, dataset, gpu, miners=32, workers=workers, time_left=time_left, mfu=mfu)


def test_paper_plan_seconds_are_operations_by_what_the_card_reaches() -> None:
    made = plan(Gpu("round", bfloat16=100, float32=50, memory=24, source="none"))
    assert not made.recomputes and not made.host_bound
    training, evaluation = made.training_flops / 50e12, made.evaluation_flops / 25e12
    assert made.seconds == pytest.approx(training + evaluation)
    assert made.forecast.seconds_for_all == pytest.approx(32 * made.seconds)
    assert made.forecast.finished == int(3720 / made.seconds)


def test_paper_plan_at_the_peak_of_a_4090_takes_longer_than_an_epoch() -> None:
    made = plan(find_gpu("RTX 4090"), mfu=1.0)
    assert made.forecast.seconds_for_all / 3600 == pytest.approx(1.7, abs=0.1)
    assert made.cards_for_all == 2


def test_paper_plan_no_step_is_faster_than_the_host() -> None:
    made = plan(find_gpu("H100"))
    steps = 2 * 10_000 / 8
    evaluation = made.evaluation_flops / (0.5 * 66.9e12)
    assert made.host_bound
    assert made.seconds == pytest.approx(steps * ASSUMED_HOST_SECONDS + evaluation)
    assert made.forecast.finished < 32


def test_paper_plan_of_more_cards_takes_as_many_times_less() -> None:
    one, four = plan(find_gpu("4090")), plan(find_gpu("4090"), workers=4)
    assert four.forecast.seconds_for_all == pytest.approx(one.forecast.seconds_for_all / 4)
    assert one.cards_for_all == four.cards_for_all


def test_paper_plan_of_long_rows_on_a_small_card_computes_activations_again() -> None:
    long = Load.uniform(100, 4096, 0.5)
    small, large = (plan(Gpu("card", 100, 50, memory, "none"), long) for memory in (12, 80))
    assert small.recomputes and small.fits and not large.recomputes
    assert small.seconds > large.seconds
    assert small.training_flops == large.training_flops


def test_paper_plan_of_a_card_without_the_memory_says_so() -> None:
    assert not plan(Gpu("tiny", 100, 50, 4, "none")).fits


def test_cards_for_all_is_none_where_not_even_one_dataset_fits() -> None:
    assert plan(Gpu("slow", 1, 1, 24, "none")).cards_for_all is None


def test_evaluation_load_grows_with_a_sealed_set_and_shrinks_with_fewer_rows() -> None:
    assert evaluation_load(RULES) == EVALUATION_SET
    sealed = SealedSet(repo="ann/sealed", commit="0" * 40, sha256="0" * 64, weight=0.5)
    assert evaluation_load(Competition(sealed=sealed)).tokens == 2 * EVALUATION_SET.tokens


def test_memory_need_is_below_the_12_gib_of_the_smallest_card_and_grows_with_precision() -> None:
    half, whole = memory_need(QWEN, RULES), memory_need(QWEN, RULES, weight_bytes=4, compute_bytes=4)
    plain = memory_need(QWEN, RULES, fused=False)
    assert half.recomputed < plain.recomputed < 11 * 2**30
    assert half.kept < 11 * 2**30 < plain.kept
    assert whole.recomputed > half.recomputed and whole.token > half.token
    assert half.kept_tokens(half.fixed) == 0
    assert not half.recomputes(80 * 2**30) and half.recomputes(12 * 2**30)


@pytest.mark.parametrize("name", ["4090", "rtx4090", "RTX 4090", "NVIDIA GeForce RTX 4090"])
def test_find_gpu_knows_a_card_however_it_is_written(name: str) -> None:
    assert find_gpu(name).name == "4090"


def test_find_gpu_of_an_unknown_card_tells_the_known() -> None:
    with pytest.raises(UsageError) as raised:
        find_gpu("Voodoo 2")
    assert "4090" in raised.value.remedy


def test_gpus_have_a_source_each() -> None:
    assert all(gpu.source and 0 < gpu.float32 < gpu.bfloat16 for gpu in GPUS)
