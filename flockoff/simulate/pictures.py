"""Charts of the game: PNG files, drawn with matplotlib."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flockoff.errors import SetupError
from flockoff.simulate.game import History
from flockoff.simulate.population import Strategy

# One colour per strategy, the same in every chart.
_PALETTE = [*colormaps["tab20"].colors, *colormaps["tab20b"].colors]  # type: ignore[attr-defined]
COLOURS = {strategy: _PALETTE[number] for number, strategy in enumerate(Strategy)}


def draw(history: History, directory: Path) -> list[Path]:
    """Write ``incentive.png``, ``quality.png`` and ``vtrust.png`` into ``directory``, made if it is missing.

    Raises SetupError where they cannot be written.
    """
    pictures = {"incentive.png": _incentive, "quality.png": _quality, "vtrust.png": _validator_trust}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, fill in pictures.items():
            figure = Figure(figsize=(8, 4.5), layout="constrained")
            fill(figure.add_subplot(), history)
            figure.savefig(directory / name, dpi=120)
    except OSError as error:
        raise SetupError(
            f"Cannot write pictures to {directory}: {error.strerror}.",
            remedy="Choose another --pictures folder.",
        ) from error
    return [directory / name for name in pictures]


def _incentive(axes: Axes, history: History) -> None:
    epochs = np.arange(1, len(history.incentive) + 1)
    strategies = [each for each in Strategy if any(miner.strategy is each for miner in history.miners)]
    layers = [
        history.incentive[:, [miner.strategy is each for miner in history.miners]].sum(axis=1)
        for each in strategies
    ]
    axes.stackplot(
        epochs,
        [*layers, history.burned],
        labels=[*strategies, "burned"],
        colors=[*(COLOURS[each] for each in strategies), "black"],
    )
    axes.set_title("Who earns how much")
    axes.set(xlabel="epoch", ylabel="share of the incentive", xlim=(1, len(epochs)), ylim=(0, 1))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")


def _quality(axes: Axes, history: History) -> None:
    earned = history.incentive.mean(axis=0)
    for strategy in Strategy:
        of = [index for index, miner in enumerate(history.miners) if miner.strategy is strategy]
        if of:
            changes = [100 * history.miners[index].submissions[-1].dataset.change for index in of]
            axes.scatter(changes, 100 * earned[of], s=14, label=strategy, color=COLOURS[strategy])
    axes.set_title("What a dataset is worth, and what it earns")
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set(xlabel="what the last dataset does to the loss, %", ylabel="mean share of the incentive, %")
    axes.legend(fontsize="small")


def _validator_trust(axes: Axes, history: History) -> None:
    epochs = np.arange(1, len(history.validator_trust) + 1)
    for number, role in enumerate(history.roles):
        axes.plot(epochs, history.validator_trust[:, number], linewidth=1, label=f"{number}: {role}")
    axes.set_title("How far each validator agrees with the others")
    axes.set(xlabel="epoch", ylabel="vtrust", xlim=(1, max(2, len(epochs))), ylim=(0, 1.02))
    axes.legend(loc="lower right", fontsize="small")
