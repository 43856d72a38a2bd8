"""The game itself: validators judge, the chain weighs their weights, and the next epoch begins."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from flockoff.records import Neuron, SubnetSnapshot, WeightsSet
from flockoff.scoring import epoch_seed
from flockoff.simulate.judgement import Entry, Memory, judge_epoch
from flockoff.simulate.noise import on_hardware, seed_losses
from flockoff.simulate.population import Dataset, Miner, Strategy, Submission, populate
from flockoff.simulate.scenario import Scenario
from flockoff.validate.weights import choose_weights
from flockoff.yuma import YumaInputs, YumaResult, run_epoch

Matrix = NDArray[np.float64]

# The subnet's parameters are the chain's defaults.
NETUID = 1
TEMPO = 360
WEIGHTS_BEFORE_END = 50  # blocks before an epoch's end in which weights are set
ACTIVITY_CUTOFF = 5000
U16_MAX = 65535
KAPPA = 32767 / U16_MAX
BONDS_PENALTY = 1.0
BONDS_MOVING_AVERAGE = 0.9
MAX_VALIDATORS = 64


class Role(StrEnum):
    HONEST = "honest"
    WEIGHT_COPIER = "weight copier"
    DISHONEST = "dishonest"
    FLAKY = "flaky"


@dataclass(frozen=True, slots=True)
class History:
    """What the chain decided in each epoch. Rows are epochs, from the first one."""

    miners: tuple[Miner, ...]
    roles: tuple[Role, ...]  # of the validators
    incentive: Matrix  # (epochs, miners)
    burned: Matrix  # (epochs,), incentive of the subnet owner
    validator_trust: Matrix  # (epochs, validators)
    dividends: Matrix  # (epochs, validators)


def play(
    scenario: Scenario,
    seed: int,
    *,
    miners: Sequence[Miner] | None = None,
    between_epochs: Callable[[], None] | None = None,
) -> History:
    """Play the scenario to its end. Everything follows from ``scenario`` and ``seed``.

    ``miners``: instead of the scenario's own. ``between_epochs`` is called before every epoch, and may raise.
    """
    game = _Game(scenario, seed, populate(scenario, seed) if miners is None else miners)
    results = []
    for epoch in range(1, scenario.epochs + 1):
        if between_epochs is not None:
            between_epochs()
        results.append(game.play_epoch(epoch))
    incentive = np.array([result.incentive for result in results])
    first_miner = len(game.roles)
    return History(
        tuple(game.miners),
        game.roles,
        incentive[:, first_miner:],
        incentive[:, :first_miner].sum(axis=1),
        np.array([result.validator_trust[:first_miner] for result in results]),
        np.array([result.dividends[:first_miner] for result in results]),
    )


def as_u16(proportions: Matrix) -> Matrix:
    """Proportions in 0..1 as the chain keeps them: in steps of 1/65535."""
    kept: Matrix = np.rint(proportions * U16_MAX) / U16_MAX
    return kept


class _Game:
    """The chain's state and the validators' memories between two epochs.

    uids: validators first, then miners. Validator 0 owns the subnet. Everyone is registered from the start
    for good; a miner has nothing to evaluate before its first submission.
    """

    def __init__(self, scenario: Scenario, seed: int, miners: Sequence[Miner]) -> None:
        self.scenario = scenario
        self.seed = seed
        self.miners = miners
        self.roles = _roles(scenario)
        self.hotkeys = [
            *(f"validator-{number}" for number in range(len(self.roles))),
            *(miner.hotkey for miner in miners),
        ]
        self.friend = _friend_uid(miners, len(self.roles))
        self.memories = [Memory() for _ in self.roles]
        self.last_weights: list[WeightsSet | None] = [None] * len(self.roles)
        self.datasets = _datasets(miners)
        self.changes = np.array([dataset.change for dataset in self.datasets])
        n = len(self.hotkeys)
        self.weights = np.zeros((n, n))
        self.bonds = np.zeros((n, n))
        self.consensus = np.zeros(n)
        self.last_update = np.zeros(n, dtype=np.int64)
        self.stake = np.array([1.0] * len(self.roles) + [0.0] * len(miners))

    def play_epoch(self, epoch: int) -> YumaResult:
        """Everything from the epoch's first block to the first block of the next."""
        rng = np.random.default_rng((self.seed, epoch))
        entries = {
            miner.hotkey: _entry(miner, uid, epoch)
            for uid, miner in enumerate(self.miners, len(self.roles))
            if miner.submissions[0].epoch < epoch
        }
        losses = seed_losses(self.scenario.noise, self.changes, rng)
        block_hash = blake2b(f"{self.seed}:{epoch}".encode(), digest_size=32).digest()
        snapshot = self._snapshot(epoch)
        for number, role in enumerate(self.roles):
            measured = on_hardware(self.scenario.noise, losses, rng)
            down = rng.random() < 0.5
            if role is Role.WEIGHT_COPIER:
                self._set_weights(number, epoch, self.consensus)
            elif role is not Role.FLAKY or not down:
                judge_epoch(
                    self.memories[number],
                    entries,
                    dict(zip((dataset.name for dataset in self.datasets), measured.tolist(), strict=True)),
                    start_block=epoch * TEMPO,
                    seed=epoch_seed(block_hash, NETUID),
                    queue=self.scenario.queue,
                    scoring=self.scenario.scoring,
                )
                self._set_weights(number, epoch, self._chosen(number, epoch, bool(entries), snapshot))
        return self._decide((epoch + 1) * TEMPO)

    def _chosen(self, number: int, epoch: int, evaluated: bool, snapshot: SubnetSnapshot) -> Matrix:
        """The weights of a validator that evaluates. (n,)"""
        chosen = choose_weights(
            self.memories[number].scores,
            self.last_weights[number],
            evaluated,
            snapshot,
            self.scenario.scoring,
        )
        by_hotkey = {self.hotkeys[uid]: weight for uid, weight in chosen.items()}
        self.last_weights[number] = WeightsSet(epoch * TEMPO, None, "", by_hotkey)
        row = np.zeros(len(self.hotkeys))
        row[list(chosen)] = list(chosen.values())
        if self.roles[number] is Role.DISHONEST and self.friend is not None:
            row *= 1 - self.scenario.validators.favour
            row[self.friend] += self.scenario.validators.favour
        return row

    def _set_weights(self, number: int, epoch: int, row: Matrix) -> None:
        """Onto the chain, scaled to a maximum of 1 as the SDK does. No weights at all are not sent."""
        if row.any():
            self.weights[number] = as_u16(row / row.max())
            self.last_update[number] = (epoch + 1) * TEMPO - WEIGHTS_BEFORE_END

    def _snapshot(self, epoch: int) -> SubnetSnapshot:
        neurons = [
            Neuron(
                uid=uid,
                hotkey=hotkey,
                coldkey=hotkey,
                stake=float(self.stake[uid]),
                validator_permit=bool(self.stake[uid]),
                last_update=int(self.last_update[uid]),
                consensus=float(self.consensus[uid]),
                incentive=0.0,
                dividends=0.0,
            )
            for uid, hotkey in enumerate(self.hotkeys)
        ]
        return SubnetSnapshot(
            NETUID, (epoch + 1) * TEMPO - WEIGHTS_BEFORE_END, self.hotkeys[0], tuple(neurons), {}
        )

    def _decide(self, block: int) -> YumaResult:
        """Yuma consensus in ``block``, from what the chain then has."""
        result = run_epoch(
            YumaInputs(
                weights=self.weights,
                stake=self.stake,
                last_update=self.last_update,
                registered_at=np.full(len(self.hotkeys), -1),
                active=self.last_update + ACTIVITY_CUTOFF >= block,
                validator_permit=self.stake > 0,
                block=block,
                bonds=self.bonds,
                kappa=KAPPA,
                bonds_penalty=BONDS_PENALTY,
                bonds_moving_average=BONDS_MOVING_AVERAGE,
                max_validators=MAX_VALIDATORS,
                owner_uid=0,
                tempo=TEMPO,
            )
        )
        self.consensus = as_u16(result.consensus)
        self.bonds = as_u16(result.bonds)
        return result


def _roles(scenario: Scenario) -> tuple[Role, ...]:
    counts = scenario.validators
    return (
        *[Role.HONEST] * counts.honest,
        *[Role.FLAKY] * counts.flaky,
        *[Role.WEIGHT_COPIER] * counts.weight_copiers,
        *[Role.DISHONEST] * counts.dishonest,
    )


def _friend_uid(miners: Iterable[Miner], first_uid: int) -> int | None:
    uids = (uid for uid, miner in enumerate(miners, first_uid) if miner.strategy is Strategy.FRIEND)
    return next(uids, None)


def _datasets(miners: Iterable[Miner]) -> list[Dataset]:
    """Every dataset once, by name, so that an epoch's noise does not depend on the order of the miners."""
    found = {
        submission.dataset.name: submission.dataset for miner in miners for submission in miner.submissions
    }
    return [found[name] for name in sorted(found)]


def _entry(miner: Miner, uid: int, epoch: int) -> Entry:
    """What counts in ``epoch``: the last that was committed before it."""
    counting = [submission for submission in miner.submissions if submission.epoch < epoch][-1]
    return Entry(miner.hotkey, uid, counting.dataset, _block(counting), _block(miner.submissions[0]))


def _block(submission: Submission) -> int:
    return submission.epoch * TEMPO + submission.offset
