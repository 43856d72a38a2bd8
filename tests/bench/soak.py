"""A validator's long life in a short time: ``uv run python -m tests.bench.soak --epochs 1000``.

The chain adapter, the hub client, the ledger and the loop are the real ones, in a process of their own; chain
and hub are the local doubles, and the evaluator gives fixed numbers. Some miners commit something new in
every epoch, and the cache for datasets is small, so that the hub is asked in every epoch. Shows the resident
memory, open files and threads of the validator's process, the ledger's size and the seconds of an epoch.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.arena import running_arena
from tests.support.soak_run import TEMPO, Sample, Soak

MIB = 1024 * 1024


def line(sample: Sample, seconds: float) -> str:
    return (
        f"{sample.epoch:6} {sample.memory / MIB:10.1f} {sample.files:6} {sample.threads:8}"
        f" {sample.ledger / MIB:11.2f} {seconds:11.2f} {sample.weights_set:12}\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--miners", type=int, default=254, help="254 fill the subnet (default)")
    parser.add_argument("--every", type=int, default=50, help="epochs between two lines (default: 50)")
    parser.add_argument("--keep", type=int, default=100, help="epochs in the ledger (default: 100)")
    parser.add_argument("--changes", type=int, default=1, help="new commitments an epoch (default: 1)")
    parser.add_argument(
        "--cached", type=int, default=96, help="datasets kept (default: 96; an epoch's 32 at least)"
    )
    args = parser.parse_args(argv)
    sys.stdout.write(" epoch memory MiB  files  threads  ledger MiB  s an epoch  weights set\n")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder  # the SDK keeps caches there
        with running_arena(Path(folder), miners=args.miners, tempo=TEMPO) as arena:
            soak = Soak(arena, keep_epochs=args.keep, cached=args.cached, changes=args.changes)
            soak.submit_all()
            seconds: list[float] = []
            for sample in soak.play(args.epochs):
                seconds.append(sample.seconds)
                if sample.epoch in (1, args.epochs) or sample.epoch % args.every == 0:
                    sys.stdout.write(line(sample, sum(seconds) / len(seconds)))
                    sys.stdout.flush()
                    seconds.clear()
    return 0 if sample.weights_set == args.epochs else 1


if __name__ == "__main__":
    sys.exit(main())
