"""``flockoff plan``: how hardware would cope with an epoch, before you buy it."""

import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flockoff.commands.tables import MISSING, console, duration, print_json, table
from flockoff.competition import Competition, load_competition
from flockoff.flags import AsJson, CompetitionFile, folder_option
from flockoff.launch import run
from flockoff.logs import say_on_stderr
from flockoff.planner.flops import Load
from flockoff.planner.hardware import GPUS, Gpu, find_gpu
from flockoff.planner.model import ModelSize, base_size, read_size
from flockoff.planner.paper import (
    ASSUMED_HOST_SECONDS,
    ASSUMED_MFU,
    BLOCK_THRESHOLD,
    BLOCKS_PER_EPOCH,
    PaperPlan,
    paper_plan,
    seconds_for_evaluating,
)
from flockoff.text import counted


def plan(
    *,
    miners: Annotated[int, typer.Option(min=1, help="Datasets an epoch.")] = 32,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a dataset.")] = 10_000,
    tokens_per_row: Annotated[
        int, typer.Option("--tokens-per-row", min=1, help="Tokens in a row, all turns together.")
    ] = 256,
    assistant_share: Annotated[
        float,
        typer.Option("--assistant-share", min=0, max=1, help="Share of tokens that are the assistant's."),
    ] = 0.5,
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=lambda: [card.name for card in GPUS],
            help="4090, A100 …; default: all known ones.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of such GPUs.")] = 1,
    mfu: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of its peak that a GPU reaches.")
    ] = ASSUMED_MFU,
    tflops: Annotated[
        float | None,
        typer.Option(min=0.001, help="Other hardware: dense bfloat16 TFLOP/s, accumulated in float32."),
    ] = None,
    float32_tflops: Annotated[
        float | None,
        typer.Option("--float32-tflops", min=0.001, help="Its float32 TFLOP/s; default: half of --tflops."),
    ] = None,
    memory: Annotated[float, typer.Option(min=0.1, help="Its memory in GiB.")] = 24.0,
    blocks_per_epoch: Annotated[int, typer.Option("--blocks-per-epoch", min=1)] = BLOCKS_PER_EPOCH,
    block_threshold: Annotated[
        int, typer.Option("--block-threshold", min=0, help="Blocks at the end reserved for weights.")
    ] = BLOCK_THRESHOLD,
    model_dir: Annotated[
        Path | None,
        folder_option("--model-dir", help="Base model's config.json, if unknown."),
    ] = None,
    competition: CompetitionFile,
    as_json: AsJson = False,
) -> None:
    """Estimate how many datasets a GPU evaluates in an epoch.

    \b
    flockoff plan --miners 32 --rows 10000 --gpu 4090
    flockoff plan --rows 2000 --workers 4 --json

    The arithmetic is in .github/docs/performance.md.
    """
    say_on_stderr()

    def program(_stop: threading.Event) -> int:
        rules, size = _rules(competition, model_dir)
        dataset = Load.uniform(rows, tokens_per_row, assistant_share)
        time_left = seconds_for_evaluating(blocks_per_epoch, block_threshold)
        plans = [
            paper_plan(
                size, rules, dataset, card, miners=miners, workers=workers, time_left=time_left, mfu=mfu
            )
            for card in _cards(gpu, tflops, float32_tflops, memory)
        ]
        if as_json:
            print_json({"mfu": mfu, "workers": workers, "plans": [asdict(one) for one in plans]})
        else:
            _show(_title(rules, dataset, miners), plans, workers, mfu)
        return 0

    raise typer.Exit(run(program))


def _rules(file: Path | None, model_dir: Path | None) -> tuple[Competition, ModelSize]:

    rules = load_competition(file)
    return rules, base_size(rules.base_model) if model_dir is None else read_size(model_dir)


def _title(rules: Competition, dataset: Load, miners: int) -> str:
    return (
        f"{counted(miners, 'dataset')} of {counted(dataset.rows, 'row')} of "
        f"{counted(dataset.tokens // dataset.rows, 'token')}, "
        f"{counted(rules.training.epochs, 'pass', 'passes')}, {rules.base_model.repo}"
    )


def _cards(name: str | None, tflops: float | None, float32: float | None, memory: float) -> Sequence[Gpu]:
    if tflops is not None:
        return [Gpu(name or "yours", tflops, float32 or tflops / 2, memory, "as given")]
    return GPUS if name is None else [find_gpu(name)]


def _show(title: str, plans: Sequence[PaperPlan], workers: int, mfu: float) -> None:
    screen = console()
    first = plans[0]
    made = table(
        title,
        words=("card",),
        numbers=("TFLOP/s", "a dataset", "in an epoch", "all take", "cards for all", "memory, GiB"),
        last="activations",
    )
    for one in plans:
        made.add_row(one.gpu.name if workers == 1 else f"{workers} x {one.gpu.name}", *_cells(one))
    screen.print(made)
    screen.print(
        f"A dataset takes {first.training_flops:.2e} operations of training, in bfloat16, and "
        f"{first.evaluation_flops:.2e} of evaluation, in float32."
    )
    screen.print(
        f"Assumed: {mfu:.0%} of each GPU's peak, at least {1000 * ASSUMED_HOST_SECONDS:.0f} ms an optimizer "
        f"step for the host, and {duration(first.forecast.time_left)} of an epoch for evaluating. "
        "Measure yours: python -m tests.bench card"
    )
    for source in dict.fromkeys(one.gpu.source for one in plans):
        names = ", ".join(one.gpu.name for one in plans if one.gpu.source == source)
        screen.print(f"Peak of {names}: {source}.")


def _cells(one: PaperPlan) -> tuple[str, ...]:
    peak = f"{one.gpu.bfloat16:g}"
    need = f"{one.memory / 2**30:.1f} of {one.gpu.memory:g}"
    if not one.fits:
        return (peak, MISSING, MISSING, MISSING, MISSING, need, "does not fit")
    outlook = one.forecast
    return (
        peak,
        duration(one.seconds),
        f"{outlook.finished} of {outlook.places}",
        duration(outlook.seconds_for_all),
        MISSING if one.cards_for_all is None else str(one.cards_for_all),
        need,
        "computed again" if one.recomputes else "kept",
    )
