"""Charts of the game: PNG files, drawn with matplotlib."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flockoff.errors import SetupError
from flockoff.simulate.game import History
from flockoff.simulate.population import Strategy

# tab20 has ten hues, each dark, then light.
_TAB20 = colormaps["tab20"].colors  # type: ignore[attr-defined]
_PALETTE = [*_TAB20[::2], *_TAB20[1::2]]
_STYLES = ("-", "--", ":", "-.")
BURNED = "black"


def colours_of(played: Iterable[Strategy]) -> dict[Strategy, tuple[float, float, float]]:
    """The strategies of a game, each with its colour in all charts; different hues come first."""
    present = set(played)
    return {
        each: _PALETTE[place % len(_PALETTE)]
        for place, each in enumerate(each for each in Strategy if each in present)
    }


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
    colours = colours_of(miner.strategy for miner in history.miners)
    layers = [
        100 * history.incentive[:, [miner.strategy is each for miner in history.miners]].sum(axis=1)
        for each in colours
    ]
    axes.stackplot(
        epochs,
        [*layers, 100 * history.burned],
        labels=[*colours, "burned"],
        colors=[*colours.values(), BURNED],
    )
    axes.set_title("Who earns how much")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="share of the incentive, %", xlim=(1, max(2, len(epochs))), ylim=(0, 100))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")


def _quality(axes: Axes, history: History) -> None:
    earned = history.incentive.mean(axis=0)
    for strategy, colour in colours_of(miner.strategy for miner in history.miners).items():
        of = [index for index, miner in enumerate(history.miners) if miner.strategy is strategy]
        changes = [100 * history.miners[index].submissions[-1].dataset.change for index in of]
        axes.scatter(changes, 100 * earned[of], s=14, label=strategy, color=colour)
    axes.set_title("What a dataset is worth, and what it earns")
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set(xlabel="what the last dataset does to the loss, %", ylabel="mean share of the incentive, %")
    axes.legend(fontsize="small")


def _validator_trust(axes: Axes, history: History) -> None:
    epochs = np.arange(1, len(history.validator_trust) + 1)
    for number, role in enumerate(history.roles):
        axes.plot(
            epochs,
            history.validator_trust[:, number],
            linewidth=1,
            label=f"{number}: {role}",
            color=_PALETTE[number % len(_PALETTE)],
            linestyle=_STYLES[number // len(_PALETTE) % len(_STYLES)],
        )
    axes.set_title("How far each validator agrees with the others")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="vtrust, 0 to 1", xlim=(1, max(2, len(epochs))), ylim=(0, 1.02))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", ncols=1 + len(history.roles) // 20)
