"""What Ray starts on a node in place of its own program, which this then becomes.

A process waits until the file that ``GATE`` names is there: that is a node slow to start one. Evaluation
workers are forked, as in the tests themselves.
"""

import os
import runpy
import sys
import time
from pathlib import Path

GATE = "FLOCKOFF_TESTS_GATE"


def main() -> None:
    gate = os.environ.get(GATE)
    while gate is not None and not Path(gate).exists():
        time.sleep(0.05)
    sys.path[0] = str(Path(__file__).parents[2])  # as Ray starts a program by its path
    from ray._private.workers import default_worker

    from tests.support.warm_workers import forked_workers, server_address

    with forked_workers(server_address):
        runpy.run_path(default_worker.__file__, run_name="__main__")


if __name__ == "__main__":
    main()
