"""A script of this project, started as ever, whose evaluation workers are forked by who listens at ADDRESS.

``python -m tests.support.warm_program ADDRESS SCRIPT ARGUMENT…``; SCRIPT may be ``flockoff``, the command.
"""

import runpy
import sys

from tests.support.warm_workers import forked_workers


def main() -> None:
    address, script, *arguments = sys.argv[1:]
    sys.argv = [script, *arguments]
    with forked_workers(lambda: address):
        if script == "flockoff":
            from flockoff.cli import main as flockoff

            flockoff()
        else:
            runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
