"""A ledger as a validator's grows: many miners over many epochs, scored by the real rules."""

import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flockoff.competition import Competition
from flockoff.dataset import Claim, duplicate_fault, same_loss_fault
from flockoff.dataset.overlap import Borrowed, BorrowedAnswer, near_duplicate_fault
from flockoff.epoch.blame import blamed, eligible
from flockoff.epoch.queue import form_queue
from flockoff.epoch.settle import Evidence, settle
from flockoff.errors import EvaluationStopped, Fault, HubTransient, MinerFault, Reason
from flockoff.ledger import Ledger
from flockoff.records import (
    Commitment,
    ComputeDevice,
    Epoch,
    Evaluation,
    Measurement,
    ModelId,
    Precision,
    Provenance,
    WeightsSet,
)
from flockoff.scoring import weights_from_scores

NETUID = 7
BLOCKS, BLOCK_SECONDS = 360, 12.0
BASE_LOSS = 2.2871
NOW = 1_790_000_000.0  # when the last epoch's weights are set: UTC seconds
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_NOISE = 0.0008  # relative, of one seed
_NOUNS = (
    "dialogues",
    "instruct",
    "chat-mix",
    "reasoning",
    "tutor-qa",
    "helpful-turns",
    "code-talk",
    "stories",
)

RULES = Competition()


@dataclass
class Player:
    uid: int
    hotkey: str
    repo: str
    first_block: int
    quality: float  # loss without noise
    version: int = 0
    fault: Callable[["Growth", "Player"], MinerFault] | None = None

    @property
    def model_id(self) -> ModelId:
        return ModelId(self.repo, RULES.id, _digest(self.repo, self.version)[:40])

    @property
    def commitment(self) -> Commitment:
        return Commitment(self.hotkey, self.uid, self.model_id, self.first_block)

    @property
    def content_hash(self) -> str:
        return _digest("rows of", self.repo, self.version)


@dataclass
class Growth:
    """What grows. ``now`` is the ledger's clock."""

    ledger: Ledger
    players: list[Player]
    rng: np.random.Generator
    now: float = 0.0

    def play(self, number: int, *, stop_after: int | None = None) -> None:
        """One epoch; ``stop_after``: leave it running with so many verdicts."""
        start = (number + 20) * BLOCKS
        epoch = Epoch(start, start + BLOCKS, 1000 + number)
        plan = self._plan(epoch)
        begun = self.now
        self.ledger.begin_epoch(epoch, [player.commitment for player in plan])
        for player in plan if stop_after is None else plan[:stop_after]:
            self._judge(epoch, player)
        if stop_after is None:
            self.now = begun + 0.84 * BLOCKS * BLOCK_SECONDS
            self._close(epoch)
            self.now = begun + BLOCKS * BLOCK_SECONDS

    def _plan(self, epoch: Epoch) -> list[Player]:
        for player in self.players:
            if player.fault is None and self.rng.random() < 0.01:
                player.version += 1
                player.quality *= 1 - abs(self.rng.normal(0, 0.004))
        present = {player.hotkey: player for player in self.players if player.first_block < epoch.start_block}
        counting = [player.commitment for player in present.values()]
        queue = form_queue(counting, self.ledger.memory(), RULES.queue, epoch)
        return [present[commitment.hotkey] for commitment in queue.places]

    def _judge(self, epoch: Epoch, player: Player) -> None:
        """One at a time, as one worker does."""
        fault: MinerFault | Fault
        luck = self.rng.random()
        if player.fault is not None:
            fault = player.fault(self, player)
        elif luck < 0.02:
            fault = HubTransient("The hub answered 503 while data.jsonl was downloaded.")
        elif luck < 0.025:
            fault = EvaluationStopped("")
        else:
            self._measure(epoch, player)
            return
        verdict = blamed(
            epoch, player.commitment, fault, content_hash=player.content_hash, last=None, final=True
        )
        self.ledger.record_verdict(verdict)

    def _measure(self, epoch: Epoch, player: Player) -> None:
        loss = player.quality * (1 + self.rng.normal(0, _NOISE))
        seconds = float(self.rng.gamma(9.0, 9.0))
        self.now += seconds + 3.0
        measured = _measurement(loss, epoch.seed, seconds, tokens=int(seconds * 5200))
        verdict = eligible(epoch, player.commitment, player.content_hash, loss, block=player.first_block)
        made = Evaluation(epoch.start_block, player.hotkey, player.model_id, player.content_hash, measured)
        self.ledger.record_verdict(verdict, made)

    def _close(self, epoch: Epoch) -> None:
        start = epoch.start_block
        coldkeys = {p.hotkey: p.hotkey for p in self.players if p.first_block < start}
        verdicts = self.ledger.verdicts(start)
        settlement = settle(start, verdicts, self.ledger.memory(start), coldkeys, RULES, Evidence())
        self.ledger.close_epoch(settlement, block=epoch.end_block - 50)
        uids = {p.uid: p.hotkey for p in self.players}
        weights = weights_from_scores(settlement.scores, uids, {}, RULES.scoring) or {}
        self.now += 20.0
        self.ledger.record_weights(
            WeightsSet(start, epoch.end_block - 48, "1-1", {uids[u]: w for u, w in weights.items()})
        )


def grow(
    path: Path, *, miners: int, epochs: int, running: int | None = None, played: int | None = None
) -> None:
    """Fill a new ledger at ``path``.

    ``running``: how many verdicts an epoch after the last has by now; None: no epoch is under way.
    ``played``: only so many epochs are played, the last ones; those before are copies of these, in turn.
    """
    assert epochs % (played or 1) == 0
    rng = np.random.default_rng(miners)
    players = [_player(uid, miners, epochs, rng) for uid in range(1, miners + 1)]
    begun = NOW - epochs * BLOCKS * BLOCK_SECONDS
    growth: Growth
    with Ledger.open(
        path, netuid=NETUID, competition=RULES.id, hotkey=_address("validator"), clock=lambda: growth.now
    ) as ledger:
        # What a power cut would lose is of no interest here, and waiting for the disk takes minutes.
        ledger._database._connection.execute("PRAGMA synchronous = OFF")
        growth = Growth(ledger, players, rng, begun)
        for player in players:
            ledger.record_commitments(
                [Commitment(player.hotkey, player.uid, player.model_id, player.first_block)]
            )
        ledger.record_base_loss(_measurement(BASE_LOSS, 0, 31.0, tokens=0))
        first = epochs - (played or epochs)
        growth.now += first * BLOCKS * BLOCK_SECONDS
        for number in range(first, epochs):
            growth.play(number)
        if first:
            _repeat_in_the_past(ledger._database._connection, epochs // (epochs - first), epochs - first)
        if running is not None:
            growth.play(epochs, stop_after=running)


# What moves with an epoch into the past, and the ids that a copy of a row needs anew, by table.
_WITH_EPOCH = {
    "epochs": ("start_block", "end_block", "closed_block"),
    "weights_sets": ("epoch", "block"),
    **{table: ("epoch",) for table in ("places", "evaluations", "verdicts", "results", "choices")},
}
_IDS = {
    "measurements": ("id",),
    "evaluations": ("id", "measurement"),
    "verdicts": ("measurement",),
    "weights_sets": ("id",),
    "weights": ("weights_set",),
}


def _repeat_in_the_past(connection: sqlite3.Connection, times: int, epochs: int) -> None:
    """Copy all that belongs to the ``epochs`` there are before them, until they were there ``times``."""
    for table in ("epochs", "measurements", *(_WITH_EPOCH.keys() - {"epochs"}), "weights"):
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
        moved = [_moved(table, column, epochs) for column in columns]
        connection.execute(
            f"WITH RECURSIVE times(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM times WHERE n < {times - 1}) "
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(moved)} FROM {table}, times"
        )


def _moved(table: str, column: str, epochs: int) -> str:
    blocks = epochs * BLOCKS
    if column in _WITH_EPOCH.get(table, ()):
        return f"{column} - n * {blocks}"
    if column in _IDS.get(table, ()):
        return f"{column} + n * 1000000"
    if column.endswith("_at"):
        return f"{column} - n * {blocks * BLOCK_SECONDS}"
    return column


def _player(uid: int, miners: int, epochs: int, rng: np.random.Generator) -> Player:
    # A few come while the game is on.
    first_block = int(rng.integers(100, 7000)) if uid % 7 else int(rng.integers(7200, 7200 + epochs * 300))
    quality = float(BASE_LOSS * (1 - abs(rng.normal(0.055, 0.03)) + (0.07 if rng.random() < 0.06 else 0)))
    return Player(
        uid=uid,
        hotkey=_address(str(uid)),
        repo=f"{['ada', 'grace', 'linus', 'barbara', 'edsger', 'margaret'][uid % 6]}-{uid}/{_NOUNS[uid % 8]}",
        first_block=first_block,
        quality=quality,
        fault=_fault(uid, miners),
    )


def _fault(uid: int, miners: int) -> Callable[[Growth, Player], MinerFault] | None:
    if uid % 11 == 5:
        return _copied
    if uid % 23 == 8:
        return lambda growth, player: same_loss_fault(_claim(growth.players[player.uid % 3]))
    if uid % 17 == 9:
        return _nearly_copied
    if uid % 29 == 3:
        return lambda _growth, _player: MinerFault(
            Reason.WRONG_ROLE, "Line 1,204: the turns must alternate, and turn 3 is the user's again."
        )
    if uid % 31 == 7:
        return lambda _growth, _player: MinerFault(
            Reason.CONTAMINATED, "5 rows of the dataset are rows of the evaluation set, for example line 88."
        )
    return None


def _copied(growth: Growth, player: Player) -> MinerFault:
    return duplicate_fault(_claim(growth.players[(player.uid * 3) % 4]))


def _nearly_copied(growth: Growth, player: Player) -> MinerFault:
    answers = tuple(
        BorrowedAnswer(line, 300, _claim(growth.players[line % 3 + 1]), line + 40) for line in range(1, 30)
    )
    fault = near_duplicate_fault(Borrowed(10_000, answers), RULES.overlap, rows_left=0)
    assert fault is not None
    return fault


def _claim(player: Player) -> Claim:
    return Claim(player.content_hash, player.hotkey, player.first_block, player.uid)


def _measurement(loss: float, seed: int, seconds: float, *, tokens: int) -> Measurement:
    provenance = Provenance(
        code_version="0.1.0",
        libraries={
            **{"torch": "2.15.0", "transformers": "5.23.1", "peft": "0.21.0", "trl": "1.16.0"},
            **{"tokenizers": "0.23.1", "python": "3.11.14"},
        },
        device=ComputeDevice("cuda NVIDIA GeForce RTX 4090"),
        precision=Precision("bfloat16", "bfloat16", 16384, ("dropout", "gate")),
        base_model="Qwen/Qwen2.5-1.5B-Instruct@989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
        evaluation_set="17194d0b292c73ac2524a24e39e94a609d44907cc793550b5ccdaeb31a87a7eb",
        seed=seed,
    )
    return Measurement(loss, 41_237, tokens // 256, tokens, tokens // 2048, seconds, provenance)


def _address(name: str) -> str:
    """Something that looks like a hotkey."""
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=40).digest(), "big")
    return "5" + "".join(_BASE58[number // 58**place % 58] for place in range(47))


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
