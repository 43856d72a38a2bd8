"""What k equal hotkeys of one owner earn, and whether hiding quality pays: ``python -m tests.bench pay``.

Static figures of one epoch, without queue and scores, for every rule of pay: means over 100 random fields a
line (or as many as the argument says), which take some 2 minutes. The others of n datasets are drawn evenly,
normally or exponentially. The owner's k are 0.5 points of the base's loss below the best of them, in random
order of commitment. The seed's noise is 0.04 %. Hiding quality: each dataset of a field in turn is made worse
by 0.05 to 2 %; shown are the datasets that would earn over 5 % more for it, and the most that one would gain.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import PAY_RULES, Scoring
from flockoff.scoring import epoch_pay

BASE_LOSS = 2.2871  # nats per assistant token
AHEAD = 0.005  # of the base's loss
NOISE = 0.0004
HIDDEN = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02)  # of the dataset's loss
KINDS = ("even", "normal", "exponential")
HEAD = ("rule", "n", "k = 1", "k = 4", "k = 20", "gain over 5 % by hiding quality", "most")


@dataclass(frozen=True, slots=True)
class Field:
    losses: NDArray[np.float64]  # (n,), nats per token; the owner's k are first
    blocks: NDArray[np.int64]


def field(rng: np.random.Generator, n: int, k: int, kind: str) -> Field:
    """One owner's ``k`` datasets above ``n - k`` others."""
    others = {
        "even": lambda: rng.uniform(-0.061, -0.02, n - k),
        "normal": lambda: rng.normal(-0.04, 0.01, n - k),
        "exponential": lambda: -0.061 + rng.exponential(0.012, n - k),
    }[kind]()
    changes = np.append(np.full(k, others.min() - AHEAD), others)
    return Field(BASE_LOSS * (1 + changes + NOISE * rng.standard_normal(n)), rng.permutation(n))


def fields(count: int, n: int, k: int) -> Iterator[Field]:
    for number in range(count):
        yield field(np.random.default_rng((number, n, k)), n, k, KINDS[number % len(KINDS)])


def owner_share(count: int, n: int, k: int, rules: Scoring) -> float:
    shares = [epoch_pay(one.losses, one.blocks, rules)[:k].sum() for one in fields(count, n, k)]
    return float(np.mean(shares))


def gains(one: Field, rules: Scoring) -> NDArray[np.float64]:
    """By how many times each dataset's pay grows at most by being made worse; 1 where it never does. (n,)"""
    pay = epoch_pay(one.losses, one.blocks, rules)
    best = pay.copy()
    for i in range(len(pay)):
        for part in HIDDEN:
            worse = one.losses.copy()
            worse[i] *= 1 + part
            best[i] = max(best[i], epoch_pay(worse, one.blocks, rules)[i])
    return best / pay


def main(count: int) -> None:
    sys.stdout.write(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}\n")
    for rule in PAY_RULES:
        rules = Scoring(pay=rule)
        for n in (32, 64, 128, 256):
            earned = [f"{owner_share(count, n, k, rules):.0%}" for k in (1, 4, 20)]
            hiding = max(1, count * 8 // n)  # as many datasets tried at each n
            gain = np.concatenate([gains(one, rules) for one in fields(min(count, hiding), n, 1)])
            cells = (rule, str(n), *earned, f"{np.mean(gain > 1.05):.1%}", f"{gain.max():.2f}")
            sys.stdout.write(f"| {' | '.join(cells)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
