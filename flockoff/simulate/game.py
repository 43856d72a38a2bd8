"""The game: validators judge, the chain runs consensus on their weights, and the next epoch begins."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import ORIGINAL_COMPETITION_ID
from flockoff.dataset import Claim, gain, gap_fault, near_duplicate_fault, owner_of, sealed_margin
from flockoff.epoch.blame import blamed, eligible, is_too_slow
from flockoff.epoch.memory import Memory
from flockoff.epoch.queue import form_queue
from flockoff.epoch.settle import Evidence, remember, settle
from flockoff.epoch.weights import decide_weights
from flockoff.errors import EvaluationStopped, EvaluationTooSlow, Fault, MinerFault, Reason
from flockoff.records import (
    U16_MAX,
    Commitment,
    Epoch,
    ModelId,
    Neuron,
    SubnetSnapshot,
    Verdict,
    WeightsSet,
)
from flockoff.scoring import epoch_seed
from flockoff.simulate.noise import on_hardware, seed_losses
from flockoff.simulate.ownership import Library
from flockoff.simulate.population import GameDataset, Miner, Move, Strategy, populate, public_rows
from flockoff.simulate.scenario import Scenario
from flockoff.yuma import YumaInputs, YumaResult, as_u16, run_epoch

Matrix = NDArray[np.float64]

# The subnet's parameters are the chain's defaults.
NETUID = 1
TEMPO = 360
WEIGHTS_BEFORE_END = 50  # blocks before an epoch's end at which weights are set
ACTIVITY_CUTOFF = 5000
KAPPA = 32767 / U16_MAX
BONDS_PENALTY = 1.0
BONDS_MOVING_AVERAGE = 0.9
MAX_VALIDATORS = 64


_CONTAMINATED = MinerFault(Reason.CONTAMINATED, "Rows contain answers of the evaluation set.")
_TOO_SLOW = EvaluationTooSlow("No worker finishes it in time.")
_CUT_OFF = EvaluationStopped("The epoch ended.")


class ValidatorRole(StrEnum):
    HONEST = "honest"
    WEIGHT_COPIER = "weight copier"
    DISHONEST = "dishonest"
    FLAKY = "flaky"


@dataclass(frozen=True, slots=True)
class History:
    """What the chain decided in each epoch. Rows are epochs, from the first one."""

    miners: tuple[Miner, ...]
    roles: tuple[ValidatorRole, ...]  # of the validators
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
    """Play the scenario to its end, deterministic in ``scenario`` and ``seed``.

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


def _sent(row: Matrix) -> Matrix:
    """Weights as sent and stored: the largest is 1, in steps of 1/65535."""
    scaled: Matrix = np.rint(row / row.max() * U16_MAX) / U16_MAX
    return scaled


class _Game:
    """The chain's state and the validators' memories between epochs.

    uids: validators first, then miners. Validator 0 owns the subnet. Everyone stays registered throughout; a
    miner has nothing to evaluate before its first submission.
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
        self.competition = scenario.competition
        first_blocks = {miner.hotkey: _block(miner.submissions[0]) for miner in miners}
        self.memories = [Memory(first_blocks=first_blocks) for _ in self.roles]
        # Each validator's claims by content, of everything it ever evaluated.
        self.claims: list[dict[str, Claim]] = [{} for _ in self.roles]
        # Each validator's index of datasets with rows, under its own secret key.
        public = public_rows(seed) if scenario.data.listed else ()
        self.libraries = [
            Library(f"validator {number}".encode(), scenario.overlap, public)
            for number in range(len(self.roles))
        ]
        self.entries = [_entries(miner, uid) for uid, miner in enumerate(miners, len(self.roles))]
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
            entry.commitment.hotkey: entry
            for entries in self.entries
            if (entry := _counting(entries, epoch)) is not None
        }
        losses = seed_losses(self.scenario.noise, self.changes, rng)
        block_hash = blake2b(f"{self.seed}:{epoch}".encode(), digest_size=32).digest()
        snapshot = self._snapshot(epoch)
        for number, role in enumerate(self.roles):
            measured = on_hardware(self.scenario.noise, losses, rng)
            down = rng.random() < 0.5
            if role is ValidatorRole.WEIGHT_COPIER:
                self._set_weights(number, epoch, self.consensus)
            elif role is not ValidatorRole.FLAKY or not down:
                measure = dict(
                    zip((dataset.name for dataset in self.datasets), measured.tolist(), strict=True)
                )
                span = Epoch(epoch * TEMPO, (epoch + 1) * TEMPO, epoch_seed(block_hash, NETUID))
                verdicts = self._judge(number, span, entries, measure)
                self._set_weights(number, epoch, self._decided(number, span, verdicts, snapshot))
        return self._decide((epoch + 1) * TEMPO)

    def _judge(
        self, number: int, epoch: Epoch, entries: Mapping[str, "_Entry"], losses: Mapping[str, float]
    ) -> tuple[Verdict, ...]:
        """Have a validator form its queue, evaluate, settle, and remember the outcome.

        ``losses``: by dataset name, as this validator measures them under the epoch's seed.
        """
        memory, claims, library = self.memories[number], self.claims[number], self.libraries[number]
        for entry in entries.values():
            if entry.dataset.rows:
                library.see(_claim(entry.commitment, entry.dataset), entry.dataset.rows)
        queue = form_queue(
            (entry.commitment for entry in entries.values()), memory, self.competition.queue, epoch
        )
        verdicts = []
        capacity = left = self.scenario.validators.capacity
        tokens = dict(memory.tokens)
        for commitment in queue.places:
            dataset = entries[commitment.hotkey].dataset
            fault: MinerFault | Fault | None = _CONTAMINATED if dataset.contaminated else None
            if left is not None and left <= 0:
                break
            if fault is None and left is not None and capacity is not None:
                if dataset.endless or left < dataset.tokens:
                    fault = _TOO_SLOW if is_too_slow(left, capacity, self.competition.queue) else _CUT_OFF
                left = 0 if fault else left - dataset.tokens
            elif dataset.endless:
                fault = _TOO_SLOW
            if fault is not None:
                verdict = blamed(
                    epoch, commitment, fault, content_hash=dataset.content, last=None, final=True
                )
            else:
                claim = _claim(commitment, dataset)
                claims[dataset.content] = owner_of((claim, claims.get(dataset.content, claim)))
                tokens[commitment.hotkey] = dataset.tokens
                verdict = self._measured(epoch, commitment, dataset, losses[dataset.name], library)
            verdicts.append(verdict)
        coldkeys = {hotkey: hotkey for hotkey in entries}
        settlement = settle(
            epoch.start_block,
            verdicts,
            memory,
            coldkeys,
            self.competition,
            Evidence(claims=claims, borrowed_shares=library.borrowed_shares, owners=library.owners),
        )
        judged = [verdict.hotkey for verdict in settlement.verdicts if verdict.standing != "not_evaluated"]
        library.settled(judged, settlement.win_rates, settlement.witnesses)
        self.memories[number] = replace(remember(memory, settlement), tokens=tokens)
        return settlement.verdicts

    def _measured(
        self, epoch: Epoch, commitment: Commitment, dataset: GameDataset, loss: float, library: Library
    ) -> Verdict:
        """The verdict on a trainable dataset; ``loss`` is that of all its rows."""
        base, fault = self.scenario.noise.base_loss, None
        if dataset.rows:
            claim = _claim(commitment, dataset)
            found = library.look(claim)
            rows_left = len(dataset.rows) - len(found.lines)
            fault = near_duplicate_fault(
                found, self.competition.overlap, rows_left=rows_left, owners=library.owners
            )
            loss -= base * dataset.change * found.share  # rows left out teach nothing
        sealed_rules = self.competition.sealed
        if sealed_rules is not None and fault is None:
            sealed_change = dataset.change if dataset.sealed_change is None else dataset.sealed_change
            sealed = loss + base * (sealed_change - dataset.change)
            rows = self.scenario.data.sealed_rows
            margin = sealed_margin(rows, rows, sealed_rules)
            fault = gap_fault(gain(loss, base), gain(sealed, base), margin)
            loss = sealed_rules.blend(loss, sealed)
        if fault is not None:
            return blamed(epoch, commitment, fault, content_hash=dataset.content, last=None, final=True)
        return eligible(epoch, commitment, dataset.content, loss, block=commitment.block)

    def _decided(
        self, number: int, epoch: Epoch, verdicts: Iterable[Verdict], snapshot: SubnetSnapshot
    ) -> Matrix:
        """The weights of a validator that evaluates. (n,)"""
        memory, uids = self.memories[number], {hotkey: uid for uid, hotkey in enumerate(self.hotkeys)}
        decision = decide_weights(
            verdicts,
            memory.scores,
            memory.last_weights,
            snapshot,
            self.hotkeys[number],
            self.competition.scoring,
        )
        weights = WeightsSet(epoch.start_block, None, "", decision.weights)
        self.memories[number] = replace(memory, last_weights=weights)
        row = np.zeros(len(self.hotkeys))
        for hotkey, weight in decision.weights.items():
            row[uids[hotkey]] = weight
        if self.roles[number] is ValidatorRole.DISHONEST and self.friend is not None:
            row *= 1 - self.scenario.validators.favour
            row[self.friend] += self.scenario.validators.favour
        return row

    def _set_weights(self, number: int, epoch: int, row: Matrix) -> None:
        """Set weights on chain; a zero vector is not sent."""
        if row.any():
            self.weights[number] = _sent(row)
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
        """Yuma consensus in ``block``, from the chain's state."""
        result = run_epoch(
            YumaInputs(
                weights=self.weights,
                stake=self.stake,
                last_update=self.last_update,
                registered_at=np.full(len(self.hotkeys), -1),
                active=self.last_update + ACTIVITY_CUTOFF >= block,
                validator_permit=self.stake > 0,
                bonds=self.bonds,
                kappa=KAPPA,
                bonds_penalty=BONDS_PENALTY,
                bonds_moving_average=BONDS_MOVING_AVERAGE,
                max_validators=MAX_VALIDATORS,
                owner_uid=0,
                last_step=block - TEMPO,
                yuma3=self.scenario.validators.yuma3,
            )
        )
        self.consensus = as_u16(result.consensus) / U16_MAX
        self.bonds = as_u16(result.bonds) / U16_MAX
        return result


def _roles(scenario: Scenario) -> tuple[ValidatorRole, ...]:
    counts = scenario.validators
    return (
        *[ValidatorRole.HONEST] * counts.honest,
        *[ValidatorRole.FLAKY] * counts.flaky,
        *[ValidatorRole.WEIGHT_COPIER] * counts.weight_copiers,
        *[ValidatorRole.DISHONEST] * counts.dishonest,
    )


def _friend_uid(miners: Iterable[Miner], first_uid: int) -> int | None:
    uids = (uid for uid, miner in enumerate(miners, first_uid) if miner.strategy is Strategy.FRIEND)
    return next(uids, None)


def _datasets(miners: Iterable[Miner]) -> list[GameDataset]:
    """Every dataset once, by name, so that an epoch's noise does not depend on the miners' order."""
    found = {
        submission.dataset.name: submission.dataset for miner in miners for submission in miner.submissions
    }
    return [found[name] for name in sorted(found)]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A commitment and its dataset; it counts after ``epoch``."""

    epoch: int
    commitment: Commitment
    dataset: GameDataset


def _entries(miner: Miner, uid: int) -> list[_Entry]:
    """The miner's commitments, first to last."""
    found = []
    for submission in miner.submissions:
        commit = blake2b(submission.dataset.name.encode(), digest_size=20).hexdigest()
        model_id = ModelId("simulated/data", ORIGINAL_COMPETITION_ID, commit)
        commitment = Commitment(miner.hotkey, uid, model_id, _block(submission))
        found.append(_Entry(submission.epoch, commitment, submission.dataset))
    return found


def _counting(entries: Sequence[_Entry], epoch: int) -> _Entry | None:
    """The last of ``entries`` made before ``epoch``, or None."""
    before = bisect_left(entries, epoch, key=lambda entry: entry.epoch)
    return entries[before - 1] if before else None


def _claim(commitment: Commitment, dataset: GameDataset) -> Claim:
    return Claim(dataset.content, commitment.hotkey, commitment.block, commitment.uid)


def _block(submission: Move) -> int:
    return submission.epoch * TEMPO + submission.offset
