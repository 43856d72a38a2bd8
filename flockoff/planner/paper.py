"""What hardware would get done in an epoch, on paper: the larger of the GPU's computing time and the host's
time to launch the kernels.
"""

import math
from dataclasses import dataclass

from flockoff.competition import Competition
from flockoff.planner.flops import Load, evaluation_flops, forward_flops, training_flops
from flockoff.planner.forecast import Forecast, Pace, forecast
from flockoff.planner.hardware import Gpu
from flockoff.planner.memory import memory_need
from flockoff.planner.model import ModelSize

# FLock OFF's own evaluation set, counted with SmolLM2's tokenizer; Qwen2.5's counts are close.
EVALUATION_SET = Load(rows=256, tokens=69_940, targets=50_213, pairs=10_974_087)
ASSUMED_MFU = 0.4  # of a GPU's peak
# For Python, PyTorch and the driver to launch one optimizer step of 28 layers: counted, not measured.
ASSUMED_HOST_SECONDS = 0.06
BLOCKS_PER_EPOCH = 360  # mainnet's tempo
BLOCK_THRESHOLD = 50  # a validator's default
SECONDS_PER_BLOCK = 12.0
_RESERVE = 2**30  # bytes: driver context and fragmentation
_TERA = 1e12


def seconds_for_evaluating(blocks: int, threshold: int) -> float:
    """Evaluation time in an epoch of ``blocks``, whose last ``threshold`` are for setting weights."""
    return max(0, blocks - threshold) * SECONDS_PER_BLOCK


@dataclass(frozen=True, slots=True)
class PaperPlan:
    """How many of an epoch's datasets, all of one size, ``workers`` equal GPUs would evaluate."""

    gpu: Gpu
    training_flops: int  # per dataset
    evaluation_flops: int
    host_bound: bool  # in training the GPU waits for the host
    recomputes: bool  # these rows need gradient checkpointing
    memory: int  # bytes, for the longest row allowed
    fits: bool
    seconds: float  # for one dataset
    forecast: Forecast
    cards_for_all: int | None  # GPUs to finish every dataset; None where not even one fits


def evaluation_load(competition: Competition) -> Load:
    """The evaluation set's load, sealed set included, assuming rows like FLock OFF's own."""
    rows = competition.evaluation.rows or EVALUATION_SET.rows
    if competition.sealed is not None:
        rows += EVALUATION_SET.rows
    share = rows / EVALUATION_SET.rows
    return Load(
        rows=rows,
        tokens=round(share * EVALUATION_SET.tokens),
        targets=round(share * EVALUATION_SET.targets),
        pairs=round(share * EVALUATION_SET.pairs),
    )


def paper_plan(
    size: ModelSize,
    competition: Competition,
    dataset: Load,
    gpu: Gpu,
    *,
    miners: int,
    workers: int,
    time_left: float,
    mfu: float = ASSUMED_MFU,
) -> PaperPlan:
    """The plan for ``miners`` datasets like ``dataset`` on ``workers`` GPUs, in ``time_left`` seconds.

    Training is in bfloat16, evaluation in float32, each at ``mfu`` of its own peak. Where a row's activations
    do not fit, the forward pass runs twice, which counts as time but not as work. No optimizer step takes
    less than ``ASSUMED_HOST_SECONDS``.
    """
    need = memory_need(size, competition)
    memory = int(gpu.memory * 2**30) - _RESERVE
    recomputes = dataset.tokens > dataset.rows * need.kept_tokens(memory)
    training = training_flops(size, competition, dataset)
    evaluation = evaluation_flops(size, competition, evaluation_load(competition))
    again = competition.training.epochs * forward_flops(size, competition.lora.rank, dataset)
    computed = training + (again if recomputes else 0)
    on_card = computed / (mfu * gpu.bfloat16 * _TERA)
    steps = competition.training.epochs * math.ceil(dataset.rows / competition.training.rows_per_step)
    on_host = steps * ASSUMED_HOST_SECONDS
    pace = Pace(
        seconds_per_token=max(on_card, on_host) / dataset.tokens,
        evaluation=evaluation / (mfu * gpu.float32 * _TERA),
    )
    seconds = pace.seconds(dataset.tokens)
    per_card = int(time_left / seconds)
    return PaperPlan(
        gpu=gpu,
        training_flops=training,
        evaluation_flops=evaluation,
        host_bound=on_host > on_card,
        recomputes=recomputes,
        memory=need.recomputed,
        fits=need.recomputed <= memory,
        seconds=seconds,
        forecast=forecast(
            [dataset.tokens] * miners,
            pace,
            time_left,
            largest=dataset.tokens,
            workers=workers,
            memory=need.recomputed,
        ),
        cards_for_all=math.ceil(miners / per_card) if per_card else None,
    )
