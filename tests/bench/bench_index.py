"""A lookup's cost as the index grows: ``python -m tests.bench index [--days …] [--miners N] [--rows N]``.

For each of --days a ledger as it is after that many days in which each of --miners committed a dataset of
--rows wholly new rows a day. Sketches are of random numbers, which cost what real ones do. All have their
probes; those with which the dataset that is looked at has something in common (--compared of them) have
their rows as well: the others' are never read, so only their size is counted. The dataset has half of its
rows from one of these, and a tenth of its probes in 64 contents each, as words have that everybody uses. What
the ledger would have forgotten by then to keep within its bound is left out, unless --unbounded is given.

Seconds are of one look (median of --repeats), each with SQLite's cache as a new connection has it.
"""

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import numpy as np

from flockoff.competition import Overlap
from flockoff.dataset import Borrowed, Claim, Sketch
from flockoff.dataset.row_pairs import PROBE_BITS, RowPairs
from flockoff.dataset.sketch import HASHES
from flockoff.ledger import Ledger
from flockoff.ledger.store import KEEP_SKETCH_BYTES
from flockoff.records import Epoch, ModelId

MIB = 1024 * 1024
PROBE_BYTES = 64 * 1024  # of a content, as the bound counts them
PAIRS_A_ROW = 90  # of a hundred words
KEPT, LEVEL = 22, 2
TOKENS = 130
WITH_COMMON_PROBES = 64
MODEL_ID = ModelId("bench/data", "f127", "0" * 40)

FILL = """
WITH RECURSIVE places(place) AS (SELECT 0 UNION ALL SELECT place + 1 FROM places WHERE place + 1 < :count)
INSERT INTO probes SELECT place * :step + abs(random()) % :step, 1 + abs(random()) % :contents FROM places
"""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def random_sketch(rows: int, numbers: np.random.Generator) -> Sketch:
    answers = numbers.integers(1, 1 << 32, size=(rows, 2 + HASHES), dtype=np.uint32)
    answers[:, 0], answers[:, 1] = np.arange(1, rows + 1), TOKENS
    table = np.column_stack([answers[:, :2], np.full((rows, 3), (LEVEL, KEPT, PAIRS_A_ROW))])
    hashes = np.sort(numbers.integers(0, 1 << (32 - LEVEL), size=(rows, KEPT), dtype=np.uint32), axis=1)
    probes = numbers.integers(0, 1 << (63 - PROBE_BITS), size=rows * PAIRS_A_ROW >> PROBE_BITS)
    return Sketch(TOKENS * rows, answers, RowPairs(table.astype(np.uint32), hashes.ravel(), probes))


def mixed(mine: Sketch, theirs: Sketch) -> Sketch:
    """The first half of the rows is another's."""
    half, part = len(mine.table) // 2, len(mine.rows.probes) // 2
    rows, other = mine.rows, theirs.rows
    return Sketch(
        mine.assistant_tokens,
        np.concatenate([theirs.table[:half], mine.table[half:]]),
        RowPairs(
            rows.table,
            np.concatenate([other.hashes[: half * KEPT], rows.hashes[half * KEPT :]]),
            np.concatenate([other.probes[:part], rows.probes[part:]]),
        ),
    )


def claim_on(content: int) -> Claim:
    return Claim(f"{content:064x}", f"hotkey {content % 256}", 7 * content, content % 256)


def grow(path: Path, contents: int, compared: int, rows: int) -> tuple[Sketch, int]:
    """A ledger of so many contents; returns the dataset to look at, and how many probes the ledger has."""
    numbers = np.random.default_rng(0)
    kept = min(compared, contents)
    sketches = [random_sketch(rows, numbers) for _ in range(kept)]
    looked_at = mixed(random_sketch(rows, numbers), sketches[-1])
    count = contents * len(looked_at.rows.probes)
    with closing(connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        step = (1 << (63 - PROBE_BITS)) // count
        connection.execute(FILL, {"count": count, "step": step, "contents": contents})
        for content in range(1, contents + 1):
            claim = claim_on(content)
            connection.execute(
                "INSERT INTO claims VALUES (?, ?, ?, ?, ?)",
                (claim.content_hash, claim.hotkey, str(MODEL_ID), claim.block, claim.order),
            )
            connection.execute("INSERT INTO contents VALUES (?, ?)", (content, claim.content_hash))
            mine = sketches[content - 1] if content <= kept else None
            connection.execute(
                "INSERT INTO sketches VALUES (?, 360, ?, 0, ?, ?)",
                (
                    claim.content_hash,
                    looked_at.assistant_tokens,
                    mine.to_bytes() if mine else b"",
                    mine.rows.to_bytes() if mine else b"",
                ),
            )
        shared = [(int(probe), kept) for probe in sketches[-1].rows.probes]
        common = looked_at.rows.probes[-len(looked_at.rows.probes) // 10 :]
        for place, probe in enumerate(common.tolist()):
            shared += [(probe, 1 + (place + other) % contents) for other in range(WITH_COMMON_PROBES)]
        connection.executemany("INSERT OR IGNORE INTO probes VALUES (?, ?)", sorted(shared))
        connection.execute("COMMIT")
    return looked_at, count


def looks(path: Path, sketch: Sketch, repeats: int) -> tuple[float, float, Borrowed]:
    """Seconds and processor seconds of a look, and what it finds."""
    wall, processor = [], []
    for _ in range(repeats):
        with Ledger.open(path, netuid=1, competition="f127", hotkey="bench") as ledger:
            start, started = time.perf_counter(), time.process_time()
            found = ledger.sketches.look(Claim("new", "me", 1 << 40, 0), sketch, Overlap(), public=None)
            wall.append(time.perf_counter() - start)
            processor.append(time.process_time() - started)
    return statistics.median(wall), statistics.median(processor), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--days", type=int, nargs="+", default=[1, 7, 30, 90, 365])
    parser.add_argument("--miners", type=int, default=256)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--compared", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--unbounded", action="store_true")
    options = parser.parse_args()
    one = random_sketch(options.rows, np.random.default_rng(0))
    each = len(one.to_bytes()) + len(one.rows.to_bytes())
    say(" days  contents      kept  million probes  index MiB  sketches GiB  look s  look cpu s  share found")
    for days in options.days:
        contents = days * options.miners
        kept = contents if options.unbounded else min(contents, KEEP_SKETCH_BYTES // (each + PROBE_BYTES))
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "ledger.sqlite")
            with Ledger.open(path, netuid=1, competition="f127", hotkey="bench") as ledger:
                ledger.begin_epoch(Epoch(360, 720, 0), [])
            sketch, probes = grow(path, kept, options.compared, options.rows)
            index = path.stat().st_size - min(options.compared, kept) * each
            wall, processor, found = looks(path, sketch, options.repeats)
            say(
                f"{days:5} {contents:9,} {kept:9,} {probes / 1e6:15.1f} {index / MIB:10.0f}"
                f" {kept * each / 1024**3:13.1f} {wall:7.2f} {processor:11.2f} {found.share:12.0%}"
            )


if __name__ == "__main__":
    main()
