"""The cost of finding near-duplicates: ``python -m tests.bench overlap [--datasets N] [--rows N]``.

1. Sketching one dataset's answers (100 words each), in processor seconds. Where ``rensa`` or ``datasketch``
   can be imported, MinHash with 128 permutations and LSH at a Jaccard similarity of 0.4 does the same beside
   it, on the same shingles, in turn: sketching, finding a copy among as many other answers, and which part of
   a copy is found after some of its words were swapped. Medians of --repeats.
2. A ledger that gets one dataset after the other, each of random sketches, which cost what real ones do: how
   long the look at each takes as the index grows, and the file's size.
3. In a process of its own, the look at one more dataset, three fifths of which are another's: seconds and
   the process's peak memory above what it was before (Linux only, else 0).
"""

import argparse
import importlib.util
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flockoff.competition import Overlap
from flockoff.dataset import Borrowed, Claim, Holding, Sketch, Sketcher, borrowed
from flockoff.dataset.sketch import HASHES, SHINGLE_WORDS
from flockoff.dataset.words import words_of
from flockoff.ledger import Ledger
from flockoff.records import Epoch, ModelId, Row, Turn
from tests.support.lone_check import MIB, peak_memory, start_peak
from tests.support.row_copies import windows

WORDS = 100  # of an answer
TOKENS = 130
PERMUTATIONS, SIMILARITY = 128, 0.4
SWAPS = (0.0, 0.05, 0.1, 0.2)
MODEL_ID = ModelId("bench/data", "f127", "0" * 40)
Texts = Sequence[str]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# --- one dataset, and other libraries beside us -----------------------------------------------------------


def answers(count: int, draw: random.Random) -> list[str]:
    vocabulary = [f"word{number}" for number in range(20_000)]
    return [" ".join(draw.choices(vocabulary, k=WORDS)) for _ in range(count)]


def swapped(texts: Texts, share: float, draw: random.Random) -> list[str]:
    return [
        " ".join(f"new{draw.random()}" if draw.random() < share else word for word in text.split())
        for text in texts
    ]


def ours(texts: Texts) -> Sketch:
    sketcher = Sketcher(b"bench")
    for line, text in enumerate(texts, start=1):
        sketcher.add(line, Row(None, (Turn("user", "?"), Turn("assistant", text))), TOKENS)
    return sketcher.sketch()


def our_hits(mine: Sketch, theirs: Sketch) -> int:
    known = Holding(Claim("theirs", "they", 1, 0), theirs)
    return len(borrowed(mine, Claim("mine", "me", 2, 0), [known], Overlap()).answers)


def shingles(text: str) -> list[str]:
    return [" ".join(window) for window in windows(words_of(text), SHINGLE_WORDS)]


def rensas(texts: Texts) -> Any:
    rensa = importlib.import_module("rensa")
    return rensa.RMinHash.from_token_sets([shingles(text) for text in texts], PERMUTATIONS, 1)


def rensa_hits(mine: Any, theirs: Any) -> int:
    lsh = importlib.import_module("rensa").RMinHashLSH(SIMILARITY, PERMUTATIONS, 32)
    lsh.insert_pairs(list(enumerate(theirs)))
    return sum(
        any(hash_.jaccard(theirs[there]) >= SIMILARITY for there in lsh.query(hash_)) for hash_ in mine
    )


def datasketches(texts: Texts) -> Any:
    datasketch = importlib.import_module("datasketch")
    sets = [[shingle.encode() for shingle in shingles(text)] for text in texts]
    return datasketch.MinHash.bulk(sets, num_perm=PERMUTATIONS)


def datasketch_hits(mine: Any, theirs: Any) -> int:
    lsh = importlib.import_module("datasketch").MinHashLSH(SIMILARITY, PERMUTATIONS)
    for place, hash_ in enumerate(theirs):
        lsh.insert(place, hash_)
    return sum(bool(lsh.query(hash_)) for hash_ in mine)


CONTENDERS: dict[str, tuple[Callable[[Texts], Any], Callable[[Any, Any], int]]] = {
    "flockoff": (ours, our_hits),
    "rensa": (rensas, rensa_hits),
    "datasketch": (datasketches, datasketch_hits),
}


def compare(rows: int, repeats: int) -> None:
    draw = random.Random(0)
    texts = answers(rows, draw)
    copies = {share: swapped(texts, share, draw) for share in SWAPS}
    here = [name for name in CONTENDERS if name == "flockoff" or importlib.util.find_spec(name)]
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in here}
    found: dict[str, str] = {}
    for _ in range(repeats):
        for name in here:
            make, count = CONTENDERS[name]
            start = time.process_time()
            theirs = make(texts)
            made = time.process_time()
            hits = {0.0: count(theirs, theirs)}
            spent[name].append((made - start, time.process_time() - made))
            if name not in found:
                hits |= {share: count(make(copies[share]), theirs) for share in SWAPS[1:]}
                found[name] = "  ".join(f"{share:.0%}: {hits[share] / rows:6.1%}" for share in SWAPS)
    say(f"{rows:,} answers of {WORDS} words      sketch cpu s  find cpu s  found after so many words swapped")
    for name in here:
        sketching, finding = (statistics.median(each) for each in zip(*spent[name], strict=True))
        say(f"  {name:28} {sketching:12.2f} {finding:11.2f}  {found[name]}")


# --- an index of many --------------------------------------------------------------------------------------


def random_sketch(rows: int, numbers: np.random.Generator) -> Sketch:
    table = numbers.integers(1, 1 << 32, size=(rows, 2 + HASHES), dtype=np.uint32)
    table[:, 0] = np.arange(1, rows + 1)
    table[:, 1] = TOKENS
    return Sketch(TOKENS * rows, table)


def look(ledger: Ledger, number: int, sketch: Sketch) -> Borrowed:
    content = f"{number:064x}"
    claim = Claim(content, f"hotkey {number}", number, number % 256)
    found = ledger.sketches.look(claim, sketch, Overlap(), public=None)
    ledger.remember_dataset(claim, MODEL_ID, sketch, 360, found)
    return found


def open_ledger(path: Path) -> Ledger:
    return Ledger.open(path, netuid=1, competition="f127", hotkey="bench")


def grow(path: Path, datasets: int, rows: int) -> None:
    say(f"\nindexing datasets of {rows:,} answers one by one    look s   look cpu s   file MiB")
    numbers = np.random.default_rng(0)
    with open_ledger(path) as ledger:
        ledger.begin_epoch(Epoch(360, 720, 0), [])
        for number in range(datasets):
            sketch = random_sketch(rows, numbers)
            start, started = time.perf_counter(), time.process_time()
            look(ledger, number, sketch)
            if (number + 1) & number == 0:
                size = sum(file.stat().st_size for file in path.parent.iterdir())
                say(
                    f"  with {number:4} others{'':28} {time.perf_counter() - start:8.2f}"
                    f" {time.process_time() - started:12.2f} {size / MIB:10.1f}"
                )


def one_more(path: Path, datasets: int, rows: int) -> dict[str, float]:
    """Look at a dataset of which three fifths are the last one's."""
    numbers = np.random.default_rng(0)
    for _ in range(datasets):
        victim = random_sketch(rows, numbers)
    own = random_sketch(rows, numbers)
    mixed = np.concatenate([victim.table[: rows * 3 // 5], own.table[rows * 3 // 5 :]])
    with open_ledger(path) as ledger:
        before = start_peak()
        start = time.perf_counter()
        found = look(ledger, datasets, Sketch(victim.assistant_tokens, mixed))
        return {
            "seconds": time.perf_counter() - start,
            "share": found.share,
            "MiB": (peak_memory() - before) / MIB,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--datasets", type=int, default=256)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one_more", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_more:
        say(json.dumps(one_more(options.one_more, options.datasets, options.rows)))
        return
    compare(options.rows, options.repeats)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "ledger.sqlite")
        grow(path, options.datasets, options.rows)
        again = ["--datasets", str(options.datasets), "--rows", str(options.rows), "--one_more", str(path)]
        done = subprocess.run([sys.executable, __file__, *again], check=True, stdout=subprocess.PIPE)
        result = json.loads(done.stdout)
    say(
        f"\none more dataset, {result['share']:.0%} of it another's: {result['seconds']:.2f} s,"
        f" {result['MiB']:.0f} MiB above what the process had"
    )


if __name__ == "__main__":
    main()
