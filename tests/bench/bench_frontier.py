"""What holds pay by distance as the default, in games: ``python -m tests.bench frontier [GAMES] [RULE]``.

One line a question, GAMES games each of 200 epochs with seeds 0, 1, …, mean and [least, most]: what one
owner's k datasets earn among 64, 128 and 256 miners at the seed's noise of 0.04 %, and what an undetected
copy earns for each unit that its victim, the newcomer, keeps. Ten games of each take a core some 10 minutes.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from flockoff.competition import Scoring
from flockoff.simulate.game import ValidatorRole, play
from flockoff.simulate.noise import NoiseModel
from flockoff.simulate.outcome import measure
from flockoff.simulate.population import Strategy
from flockoff.simulate.scenario import PRESETS, Data, Scenario

QUIET, USUAL = NoiseModel(seed=0.0004), NoiseModel()
HEAD = ("game", "share", "tau, least", "newcomer's epochs, most", "vtrust, least")


def questions() -> Iterator[tuple[str, Scenario, Strategy | None]]:
    """Name, scenario, and whose share is asked for; None: the copy's for each unit of its victim's."""
    for miners in (64, 128, 256):
        for k, preset in ((1, "one-ahead"), (20, "twenty-ahead")):
            scenario = PRESETS[preset].resized(epochs=None, miners=miners, validators=None)
            yield f"k = {k} of {miners}", replace(scenario, noise=QUIET), Strategy.INDEPENDENT
    for miners in (64, 256):
        base = PRESETS["undetected"].resized(epochs=None, miners=miners, validators=None)
        one = replace(base, miners=replace(base.miners, disguised_copiers=1), data=Data(copy_recall=0.0))
        for noise in (QUIET, USUAL):
            yield f"copy ÷ victim of {miners}, noise {noise.seed:.2%}", replace(one, noise=noise), None


def line(name: str, scenario: Scenario, whose: Strategy | None, games: int) -> str:
    shares, taus, epochs, trust = [], [], [], []
    for seed in range(games):
        history = play(scenario, seed)
        outcome = measure(scenario, history)
        if whose is None:
            who = [miner.strategy for miner in history.miners]
            later = history.incentive[scenario.miners.newcomers_come + 2 :].sum(axis=0)
            copy, victim = who.index(Strategy.DISGUISED_COPIER), who.index(Strategy.NEWCOMER)
            shares.append(float(later[copy] / later[victim]))
        else:
            shares.append(outcome.shares[whose])
        taus += [] if outcome.tau is None else [outcome.tau]
        epochs += [] if outcome.newcomer_epochs is None else [outcome.newcomer_epochs]
        trust += [each.trust for each in outcome.validators if each.role is ValidatorRole.HONEST]
    cells = (
        name,
        f"{np.mean(shares):.1%} [{min(shares):.1%}, {max(shares):.1%}]",
        f"{min(taus):.3f}" if taus else "-",
        f"{max(epochs)}" if epochs else "-",
        f"{min(trust):.3f}",
    )
    return f"| {' | '.join(cells)} |\n"


def main(games: int, rule: str) -> None:
    sys.stdout.write(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}\n")
    for name, scenario, whose in questions():
        sys.stdout.write(line(name, replace(scenario, scoring=Scoring(pay=rule)), whose, games))
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2] if len(sys.argv) > 2 else "distance")
