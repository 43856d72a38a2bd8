"""What each attack by name earns, in Markdown: ``python -m tests.bench attacks [GAMES]``.

Each line is the mean (and the worst) of GAMES games of 200 epochs with seeds 0, 1, …, for the attackers'
share of all incentive and what the attacked keep. One game of each takes some 2 minutes.
"""

import sys

import numpy as np

from flockoff.simulate.game import ValidatorRole, play
from flockoff.simulate.outcome import measure
from flockoff.simulate.population import Strategy
from flockoff.simulate.scenario import PRESETS

ATTACKERS = {
    "slow": None,
    "token-sybils": Strategy.LARGE,
    "sleeper": Strategy.SWAPPER,
    "sleeper-slow": Strategy.SWAPPER,
    "evaluation-trainer": Strategy.CONTAMINATOR,
    "evaluation-trainer-sealed": Strategy.CONTAMINATOR,
    "launderer": Strategy.LAUNDERED,
    "format-squatter": Strategy.FORMAT_SQUATTER,
    "public-squatter": Strategy.PUBLIC_SQUATTER,
    "public-squatter-listed": Strategy.PUBLIC_SQUATTER,
    "update-thief": Strategy.UPDATE_THIEF,
    "row-copier": Strategy.ROW_COPIER,
    "one-ahead": Strategy.INDEPENDENT,
    "four-ahead": Strategy.INDEPENDENT,
    "twenty-ahead": Strategy.INDEPENDENT,
}
HEAD = ("scenario", "attackers", "most", "attacked", "tau", "least", "newcomer", "epochs", "vtrust", "least")


def line(name: str, games: int) -> str:
    scenario, attacker = PRESETS[name], ATTACKERS[name]
    outcomes = [measure(scenario, play(scenario, seed)) for seed in range(games)]
    earned = [0.0 if attacker is None else outcome.shares[attacker] for outcome in outcomes]
    attacked = [
        sum(outcome.shares.get(who, 0.0) for who in (Strategy.VICTIM, Strategy.PUBLIC_USER))
        for outcome in outcomes
    ]
    tau = [outcome.tau for outcome in outcomes if outcome.tau is not None]
    share = [outcome.newcomer_share for outcome in outcomes if outcome.newcomer_share is not None]
    epochs = [outcome.newcomer_epochs for outcome in outcomes if outcome.newcomer_epochs is not None]
    trust = [
        each.trust for outcome in outcomes for each in outcome.validators if each.role is ValidatorRole.HONEST
    ]
    cells = (
        f"`{name}`",
        f"{np.mean(earned):.1%}",
        f"{max(earned):.1%}",
        f"{np.mean(attacked):.1%}" if any(attacked) else "-",
        f"{np.mean(tau):.3f}",
        f"{min(tau):.3f}",
        f"{np.mean(share):.1%}" if share else "-",
        f"{np.mean(epochs):.0f}" if epochs else "-",
        f"{np.mean(trust):.3f}",
        f"{min(trust):.3f}",
    )
    return f"| {' | '.join(cells)} |\n"


def main(games: int, names: list[str]) -> None:
    sys.stdout.write(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}\n")
    for name in names or ATTACKERS:
        sys.stdout.write(line(name, games))
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2:])
