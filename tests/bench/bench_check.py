"""How fast datasets are checked, and in how much memory: ``python tests/bench/bench_check.py [MODEL_DIR]``.

MODEL_DIR holds a base model's tokenizer; without it tokens are characters, which shows the cost of all else.
"""

import argparse
import json
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

from flockoff.competition import Limits
from flockoff.dataset import EvaluationAnswers, check_dataset, load_rows
from flockoff.ports import RowEncoder
from flockoff.records import EncodedRow, Row
from flockoff.tokens import load_encoder

ROWS = 20_000
MIB = 1024 * 1024


class CharacterEncoder:
    """Four characters a token, without a template."""

    special_tokens = frozenset({"<|im_start|>", "<|im_end|>", "<|endoftext|>"})

    def encode(self, rows: Sequence[Row]) -> list[EncodedRow]:
        lengths = [min(4096, sum(len(turn.content) for turn in row.turns) // 4) for row in rows]
        return [EncodedRow((7,) * length, (True,) * length) for length in lengths]


def write_dataset(path: Path) -> None:
    """Rows of some 256 tokens, from a fixed seed."""
    draw = random.Random(0)
    words = [
        "".join(draw.choices("abcdefghijklmnopqrstuvwxyzé", k=draw.randint(1, 9))) for _ in range(20_000)
    ]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(ROWS):
            turns = [
                {"role": role, "content": " ".join(draw.choices(words, k=length))}
                for role, length in (("user", 30), ("assistant", 100))
            ]
            file.write(json.dumps({"system": None, "conversations": turns}) + "\n")


def measure(name: str, size: int, run: Callable[[], object]) -> None:
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    sys.stdout.write(
        f"{name:24} {ROWS / seconds:9,.0f} rows/s  {size / MIB / seconds:6.1f} MiB/s"
        f"  peak {peak / MIB:6.1f} MiB of Python objects\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model_dir", nargs="?", type=Path)
    model_dir = parser.parse_args().model_dir
    encoder: RowEncoder = load_encoder(model_dir, 4096) if model_dir else CharacterEncoder()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "data.jsonl")
        write_dataset(path)
        size = path.stat().st_size
        rows = load_rows(path, Limits(), encoder.special_tokens)
        answers = EvaluationAnswers(rows[::80])
        measure("check_dataset", size, lambda: check_dataset(path, Limits(), encoder))
        measure("load_rows", size, lambda: load_rows(path, Limits(), encoder.special_tokens))
        measure("contaminated_rows", size, lambda: answers.contaminated_rows(rows))


if __name__ == "__main__":
    main()
