"""Runs a bench: ``python -m tests.bench NAME [OPTIONS]``; without a name, lists them."""

import ast
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent
PREFIX = "bench_"


def benches() -> dict[str, str]:
    """The first line of each bench's docstring, by name."""
    found = {}
    for file in sorted(HERE.glob(f"{PREFIX}*.py")):
        about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        found[file.stem.removeprefix(PREFIX)] = about.partition("\n")[0]
    return found


def main() -> int:
    name, known = "".join(sys.argv[1:2]), benches()
    if name not in known:
        stream = sys.stderr if name else sys.stdout
        stream.write("".join(f"{one:12} {about}\n" for one, about in known.items()))
        return 2 if name else 0
    sys.argv = [f"{sys.argv[0]} {name}", *sys.argv[2:]]
    runpy.run_module(f"tests.bench.{PREFIX}{name}", run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
