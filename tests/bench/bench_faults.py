"""Injects every fault many times and measures its cost: ``uv run python -m tests.bench faults --times 10``.

The table is the one in the guide to faults. The validator, its ledger and both clients are the real ones; the
chain, the hub and the evaluator are the local doubles.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.support.arena import running_arena
from tests.support.fault_scenarios import MINERS, SCENARIOS, play, set_stage


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="of each fault (default: 10)")
    times = parser.parse_args(argv).times
    package = logging.getLogger("flockoff")  # it is read for what a fault causes, and shown to nobody
    package.setLevel(logging.INFO)
    package.propagate = False
    package.addHandler(logging.NullHandler())
    table = Table("fault", "times", "weights set", "lost", "repeated", "wrongly blamed", box=None)
    clean = True
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder  # the SDK keeps caches there
        for scenario in track(SCENARIOS, console=Console(stderr=True)):
            directory = Path(folder) / str(SCENARIOS.index(scenario))
            with running_arena(directory, miners=MINERS, tempo=2000) as arena:
                stage = set_stage(arena)
                # What takes a miner off the subnet can be done once in an arena.
                outcomes = [play(stage, scenario) for _ in range(1 if scenario.once else times)]
            lost = sum(outcome.evaluations_lost for outcome in outcomes)
            repeated = sum(outcome.evaluations_repeated for outcome in outcomes)
            blamed = sum(outcome.wrongly_blamed for outcome in outcomes)
            weights = sum(outcome.weights_set for outcome in outcomes)
            clean &= (lost, repeated, blamed, weights) == (0, 0, 0, len(outcomes))
            table.add_row(scenario.name, *map(str, (len(outcomes), weights, lost, repeated, blamed)))
    Console(width=110).print(table)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
