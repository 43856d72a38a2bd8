"""The tables of .github/docs/simulation.md, in Markdown: ``python -m tests.bench games [GAMES] [TABLE …]``.

Each line is the mean (and the worst) of GAMES games of 200 epochs with seeds 0, 1, …; 10 take 15 minutes.
TABLE: promises, prices, noise, quiet, queue, slow; all of them unless named.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from flockoff.competition import Queue, Scoring
from flockoff.simulate.game import ValidatorRole, play
from flockoff.simulate.noise import NoiseModel
from flockoff.simulate.outcome import Outcome, measure
from flockoff.simulate.population import USUAL_TOKENS
from flockoff.simulate.scenario import PRESETS, Data, Scenario

HEAD = ("game", "cheats", "most", "tau", "least", "newcomer", "epochs", "most", "vtrust", "least", "all kept")
ALL_FOUND = Data(copy_recall=1.0, contamination_recall=1.0)
NONE_FOUND = Data(copy_recall=0.0, contamination_recall=0.0)


def of_size(preset: str, miners: int, data: Data) -> Scenario:
    return replace(PRESETS[preset].resized(epochs=None, miners=miners, validators=None), data=data)


def promises() -> Iterator[tuple[str, Scenario]]:
    for miners in (64, 128, 256):
        yield f"mixed, {miners} miners, every cheat found", of_size("mixed", miners, ALL_FOUND)
    for miners in (64, 256):
        yield f"honest, {miners} miners", of_size("honest", miners, Data())


def prices() -> Iterator[tuple[str, Scenario]]:
    for miners in (64, 256):
        base = of_size("undetected", miners, NONE_FOUND)
        for copiers in (1, 2, 4):
            leader = replace(base.miners, disguised_copiers=copiers)
            yield f"copies of a clear leader among {miners}: {copiers}", replace(base, miners=leader)
        close = replace(base.miners, disguised_copiers=1, newcomers=0)
        yield f"copies in a close field of {miners}: 1", replace(base, miners=close)
        cheat = replace(base.miners, disguised_copiers=0, contaminators=1)
        yield f"contaminated datasets among {miners}: 1", replace(base, miners=cheat)


def noises() -> Iterator[tuple[str, Scenario]]:
    base = of_size("mixed", 64, ALL_FOUND)
    for seed in (0.0002, 0.0035, 0.007, 0.014):
        for correlation in (0.0, 0.5):
            model = NoiseModel(seed=seed, correlation=correlation)
            yield f"seed {seed:.2%}, correlation {correlation}", replace(base, noise=model)
    for miners in (64, 256):
        for hardware in (0.0, 4e-7, 1e-4, 1e-3):
            scenario = replace(of_size("honest", miners, Data()), noise=NoiseModel(hardware=hardware))
            yield f"honest, {miners} miners, hardware {hardware:g}", scenario


def quiet() -> Iterator[tuple[str, Scenario]]:
    """The noise of small steps: then a smaller epsilon tells more datasets apart. Distances are in epsilons,
    so a smaller one also sharpens the pay, unless ``prize_scale`` grows in proportion.
    """
    noise, usual = NoiseModel(seed=0.0002), Scoring()
    for epsilon in (0.0005, 0.001, 0.0025, usual.timestamp_epsilon):
        grown = round(usual.prize_scale * usual.timestamp_epsilon / epsilon, 2)
        for prize_scale in dict.fromkeys((usual.prize_scale, grown)):
            scoring = Scoring(timestamp_epsilon=epsilon, prize_scale=prize_scale)
            for preset, data in (("mixed", ALL_FOUND), ("undetected", NONE_FOUND)):
                base = replace(of_size(preset, 64, data), noise=noise, scoring=scoring)
                yield f"{preset}, seed 0.02%, epsilon {epsilon:g}, prize_scale {prize_scale:g}", base


def queues() -> Iterator[tuple[str, Scenario]]:
    base = of_size("mixed", 256, ALL_FOUND)
    for best, drawn, waiting in ((8, 16, 8), (8, 12, 12), (8, 8, 16), (8, 0, 24), (4, 16, 12)):
        name = f"best {best}, drawn {drawn}, waiting {waiting}"
        yield name, replace(base, queue=Queue(best=best, drawn=drawn, waiting=waiting))


def slow() -> Iterator[tuple[str, Scenario]]:
    for preset in ("slow", "token-sybils"):
        yield preset, PRESETS[preset]
    for capacity in (2.5, 4.5, 8.5):
        base = PRESETS["slow"]
        validators = replace(base.validators, capacity=int(capacity * USUAL_TOKENS))
        yield (
            f"64 miners, time for {capacity}",
            replace(base, validators=validators, miners=replace(base.miners, total=64)),
        )


TABLES = {
    "promises": promises,
    "prices": prices,
    "noise": noises,
    "quiet": quiet,
    "queue": queues,
    "slow": slow,
}


def line(name: str, outcomes: list[Outcome]) -> str:
    trust = [
        each.trust for outcome in outcomes for each in outcome.validators if each.role is ValidatorRole.HONEST
    ]
    cheats = [outcome.cheats for outcome in outcomes]
    tau = [outcome.tau for outcome in outcomes if outcome.tau is not None]
    share = [outcome.newcomer_share for outcome in outcomes if outcome.newcomer_share is not None]
    epochs = [outcome.newcomer_epochs for outcome in outcomes if outcome.newcomer_epochs is not None]
    kept = sum(False not in outcome.promises.values() for outcome in outcomes)
    cells = (
        name,
        f"{np.mean(cheats):.2%}",
        f"{max(cheats):.2%}",
        f"{np.mean(tau):.3f}",
        f"{min(tau):.3f}",
        f"{np.mean(share):.1%}" if share else "-",
        f"{np.mean(epochs):.1f}" if epochs else "-",
        f"{max(epochs)}" if epochs else "-",
        f"{np.mean(trust):.3f}",
        f"{min(trust):.3f}",
        f"{kept} of {len(outcomes)}",
    )
    return f"| {' | '.join(cells)} |\n"


def main(games: int, tables: Sequence[str]) -> None:
    for title in tables or TABLES:
        sys.stdout.write(f"\n{title}\n\n| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}\n")
        for name, scenario in TABLES[title]():
            outcomes = [measure(scenario, play(scenario, seed)) for seed in range(games)]
            sys.stdout.write(line(name, outcomes))
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2:])
