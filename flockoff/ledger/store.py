"""What a validator remembers. Every method that changes it is one transaction."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from sqlite3 import Connection, Cursor
from types import TracebackType
from typing import Literal, Self

from flockoff.dataset import Borrowed, Claim, Owner, Sketch
from flockoff.epoch.memory import Memory
from flockoff.epoch.settle import Evidence, Settlement
from flockoff.errors import FaultKind, LedgerError
from flockoff.ledger.database import Database
from flockoff.ledger.retention import prune
from flockoff.ledger.rows import (
    MEASURED,
    NUMBER,
    VERDICTS,
    LedgerIdentity,
    claim_from,
    commitment_from,
    evaluation_from,
    measurement_from,
    setup_text,
    verdict_from,
)
from flockoff.ledger.sketches import (
    SketchIndex,
    bear_witness,
    forget_beyond,
    index_stored,
    remember,
    remember_again,
)
from flockoff.ledger.views import Views
from flockoff.records import (
    SET_ASIDE,
    Commitment,
    Epoch,
    Evaluation,
    Measurement,
    ModelId,
    SubnetSnapshot,
    Verdict,
    WeightsSet,
)

_SETUP = "code_version, libraries, device, precision, base_model, evaluation_set"

_NEVER = 1 << 30  # tries: more than anybody makes
KEEP_EPOCHS = 1000  # 50 days of mainnet's epochs, in about 75 MB with 256 miners
KEEP_SKETCH_BYTES = 4 * 2**30  # 256 miners with five datasets of 20,000 rows each


class Ledger:
    """One validator's memory of one competition on one subnet. An epoch is named by its start block.

    What a method stores is on disk when it returns, all of it or nothing. Every method may raise LedgerError
    (damaged file, or a record that contradicts what is stored) or LedgerUnavailable (disk full or failing,
    file locked). Then nothing has changed, and the same call works once the cause is fixed. Use it only from
    the thread that opened it. Times are informative: nothing depends on the clock.

    Of closed epochs before the last ``keep_epochs`` only what later ones need is kept: who owns which
    content, each hotkey's first block, last turn, verdict and commitments, the scores and the last weights.
    Of sketches about ``KEEP_SKETCH_BYTES`` are kept.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float],
        keep_epochs: int = KEEP_EPOCHS,
    ) -> None:
        self._database = database
        self._clock = clock
        self._keep_epochs = keep_epochs
        self.sketches = SketchIndex(database)

    @classmethod
    def open(
        cls,
        path: Path | Literal[":memory:"],
        *,
        netuid: int,
        competition: str,
        hotkey: str | None = None,
        genesis: str | None = None,
        read_only: bool = False,
        keep_epochs: int = KEEP_EPOCHS,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the ledger, creating the file if necessary. Close it, or use it as a context manager.

        One process at a time may open it for writing; ``read_only`` works alongside. ``hotkey``: the
        validator's own; ``genesis``: its chain's genesis hash, in hex; None, for readers, opens anybody's.
        ``clock`` gives UTC seconds. Raises LedgerError also for a file that is not a ledger, or is another
        chain's, subnet's, competition's or validator's.
        """
        database = Database.open(path, read_only=read_only)
        ledger = cls(database, clock, keep_epochs)
        try:
            ledger._identify(LedgerIdentity(netuid, competition, hotkey, genesis), read_only=read_only)
            if not read_only:
                ledger._index_old_sketches()
        except LedgerError:
            database.close()
            raise
        return ledger

    @classmethod
    def look(cls, path: Path) -> Self:
        """Open anybody's ledger read-only; ``identity`` says whose it is. Raises LedgerError as ``open``."""
        return cls(Database.open(path, read_only=True), time.time)

    def identity(self) -> LedgerIdentity:
        """Whose ledger this is. Raises LedgerError for a file never used."""
        rows = self._database.read("SELECT netuid, competition, hotkey, genesis FROM identity")
        if not rows:
            raise LedgerError(
                f"Ledger {self._database.location}: it is empty.", remedy="Let a validator use it first."
            )
        return LedgerIdentity(**dict(rows[0]))

    @property
    def views(self) -> Views:
        return Views(self._database)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _index_old_sketches(self) -> None:
        """Once after an update: a transaction each, so that it can be interrupted."""
        for content_hash in self.sketches.unindexed():
            with self._database.transaction() as connection:
                index_stored(connection, content_hash)

    def _identify(self, wanted: LedgerIdentity, *, read_only: bool) -> None:
        stored = self._database.read("SELECT netuid, competition, hotkey, genesis FROM identity")
        if not stored and not read_only:
            with self._database.transaction() as connection:
                connection.execute(
                    "INSERT INTO identity (one, netuid, competition, hotkey, genesis)"
                    " VALUES (1, :netuid, :competition, :hotkey, :genesis)",
                    asdict(wanted),
                )
            return
        for name, value in asdict(wanted).items():
            found = stored[0][name] if stored else None
            is_older = name == "genesis" and bool(stored) and found is None  # from before genesis was stored
            if value is not None and found != value and not is_older:
                what = "another chain, whose first block is" if name == "genesis" else name
                raise LedgerError(
                    f"Ledger {self._database.location}: it belongs to {what} {found}, not {value}.",
                    remedy="Choose another data folder; the file was left unchanged.",
                )
        if not read_only and wanted.genesis is not None and stored[0]["genesis"] is None:
            with self._database.transaction() as connection:
                connection.execute("UPDATE identity SET genesis = ?", (wanted.genesis,))

    # --- what bears on an epoch --------------------------------------------------------------------------

    def memory(self, before: int | None = None, snapshot: SubnetSnapshot | None = None) -> Memory:
        """What is remembered of the epochs before the one that starts at ``before``; None: of all.

        Scores and turns are those after the last closed epoch. ``snapshot``: the commitments on chain whose
        first blocks are needed.
        """
        horizon = 2**62 if before is None else before
        texts = {each.hotkey: each.text for each in snapshot.commitments.values()} if snapshot else {}
        read, records = self._database.read, self._database.records
        verdicts = records(
            verdict_from,
            f"{VERDICTS} WHERE (v.hotkey, v.epoch) IN"
            " (SELECT hotkey, max(epoch) FROM verdicts WHERE epoch < ? GROUP BY hotkey)",
            (horizon,),
        )
        earlier = records(
            commitment_from,
            "SELECT c.hotkey, c.uid, c.model_id, (SELECT min(block) FROM commitments"
            " WHERE hotkey = c.hotkey AND model_id = c.model_id) AS block FROM commitments AS c"
            " WHERE (c.hotkey, c.block) IN"
            " (SELECT hotkey, max(block) FROM commitments WHERE block < ? GROUP BY hotkey)",
            (horizon,),
        )
        first_seen = read(
            "SELECT c.hotkey, c.model_id, min(c.block) AS block FROM json_each(?) AS shown"
            " JOIN commitments AS c ON c.hotkey = shown.key AND c.model_id = shown.value GROUP BY c.hotkey",
            (json.dumps(texts),),
        )
        first_blocks = read("SELECT hotkey, min(block) AS block FROM commitments GROUP BY hotkey")
        tokens = read(
            "SELECT e.hotkey, m.train_tokens FROM evaluations AS e"
            " JOIN measurements AS m ON m.id = e.measurement WHERE (e.hotkey, e.epoch) IN"
            " (SELECT hotkey, max(epoch) FROM evaluations WHERE epoch < ? GROUP BY hotkey)",
            (horizon,),
        )
        return Memory(
            scores={row["hotkey"]: row["score"] for row in read("SELECT hotkey, score FROM scores")},
            last_evaluated={row["hotkey"]: row["epoch"] for row in read("SELECT hotkey, epoch FROM turns")},
            missed=self._missed(horizon),
            tokens={row["hotkey"]: row["train_tokens"] for row in tokens},
            last_verdicts={verdict.hotkey: verdict for verdict in verdicts},
            first_blocks={row["hotkey"]: row["block"] for row in first_blocks},
            earlier={commitment.hotkey: commitment for commitment in earlier},
            first_seen={(row["hotkey"], row["model_id"]): row["block"] for row in first_seen},
            last_weights=self.last_weights(),
        )

    def _missed(self, before: int) -> dict[str, int]:
        """By hotkey, the epochs since its last result in which a worker failed on it while others
        competed. One that was too slow may have left no time for them: then the epoch before tells.
        """
        kinds = sorted(SET_ASIDE)
        rows = self._database.read(
            "SELECT v.hotkey, count(*) AS missed FROM verdicts AS v"
            f" WHERE v.epoch < ? AND v.fault IN ({', '.join('?' * len(kinds))})"
            " AND v.epoch > coalesce((SELECT max(epoch) FROM verdicts WHERE hotkey = v.hotkey AND epoch < ?"
            " AND standing != 'not_evaluated'), -1)"
            " AND EXISTS (SELECT 1 FROM verdicts WHERE standing = 'eligible' AND (epoch = v.epoch"
            " OR v.fault = ? AND epoch = (SELECT max(epoch) FROM verdicts WHERE epoch < v.epoch)))"
            " GROUP BY v.hotkey",
            (before, *kinds, before, FaultKind.TOO_SLOW),
        )
        return {row["hotkey"]: row["missed"] for row in rows}

    def owner(self, content_hash: str) -> Claim | None:
        """Who first committed a content; ``order`` is the hotkey's uid then. None: nobody yet."""
        rows = self._database.read("SELECT * FROM claims WHERE content_hash = ?", (content_hash,))
        return claim_from(rows[0]) if rows else None

    def owners(self) -> dict[str, Owner]:
        """Everybody ever registered, by hotkey, as of the last epoch's start."""
        rows = self._database.read(
            "SELECT hotkey, coldkey, registered, evaluations, best_win_rate, EXISTS"
            " (SELECT 1 FROM owners AS other WHERE other.coldkey = owners.coldkey"
            " AND other.hotkey <> owners.hotkey AND other.registered) AS succeeded FROM owners"
        )
        return {
            row["hotkey"]: Owner(
                row["coldkey"],
                registered=bool(row["registered"]),
                succeeded=bool(row["succeeded"]),
                evaluations=row["evaluations"],
                best_win_rate=row["best_win_rate"],
            )
            for row in rows
        }

    def evidence(self, verdicts: Iterable[Verdict], borrowed: Mapping[str, Borrowed]) -> Evidence:
        """What is known about the contents of ``verdicts``; ``borrowed`` as from
        ``SketchIndex.look_again``."""
        contents = {verdict.content_hash for verdict in verdicts if verdict.content_hash is not None}
        claims = {content: self.owner(content) for content in contents}
        shares = {content: self.sketches.borrowed_share(content) for content in contents}
        return Evidence(
            {content: claim for content, claim in claims.items() if claim is not None},
            borrowed,
            {content: share for content, share in shares.items() if share is not None},
            base.loss if (base := self.base_loss()) is not None else None,
            self.owners(),
        )

    # --- commitments and ownership -----------------------------------------------------------------------

    def record_commitments(self, commitments: Iterable[Commitment]) -> None:
        """Store what the chain shows; ``block`` is the chain's. Idempotent."""
        with self._database.transaction() as connection:
            _insert_commitments(connection, commitments)

    def remember_dataset(
        self, claim: Claim, model_id: ModelId, sketch: Sketch, epoch: int, found: Borrowed
    ) -> None:
        """Store who committed a content, and the result of its lookup.

        ``epoch``: start block of the one in which it is seen. The content belongs to the lowest block, then
        the lowest uid, of all claims ever made, whatever the order of evaluation, and whatever becomes of the
        hotkeys.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO claims (content_hash, hotkey, model_id, block, uid) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET hotkey = excluded.hotkey, model_id = excluded.model_id,"
                " block = excluded.block, uid = excluded.uid"
                " WHERE (excluded.block, excluded.uid) < (claims.block, claims.uid)",
                (claim.content_hash, claim.hotkey, str(model_id), claim.block, claim.order),
            )
            remember(connection, claim.content_hash, sketch, epoch, found)
            _insert_sight(connection, model_id, epoch, claim.content_hash)

    def unseen(self, epoch: int, most_tries: int) -> list[Commitment]:
        """Every commitment ever seen whose dataset is not known yet, with its first block.

        Each hotkey's first one comes first, then each one's second, and so on, so a hotkey that commits
        hundreds delays others by one at most. Within a hotkey, and within each such round, the one tried
        least often comes first, then the earliest, so one that always fails delays none.

        Leaves out those tried in ``epoch``, or ``most_tries`` times before it, without success. Whether a
        ModelId was tried does not depend on who committed it.
        """
        return self._database.records(
            commitment_from,
            "WITH unseen AS (SELECT c.hotkey, c.uid, c.model_id, min(c.block) AS block,"
            " coalesce(s.tries, 0) AS tries FROM commitments AS c LEFT JOIN sights AS s USING (model_id)"
            " WHERE s.model_id IS NULL OR (s.content_hash IS NULL AND s.epoch <> ? AND s.tries < ?)"
            " GROUP BY c.model_id)"
            " SELECT hotkey, uid, model_id, block FROM unseen ORDER BY"
            " row_number() OVER (PARTITION BY hotkey ORDER BY tries, block), tries, block, uid",
            (epoch, most_tries),
        )

    def record_sight(self, model_id: ModelId, epoch: int, *, final: bool) -> None:
        """Note that nothing came of looking at a ModelId in ``epoch``; ``final``: nothing ever will."""
        with self._database.transaction() as connection:
            _insert_sight(connection, model_id, epoch, None, tries=_NEVER if final else 1)

    # --- an epoch ----------------------------------------------------------------------------------------

    def begin_epoch(
        self,
        epoch: Epoch,
        plan: Sequence[Commitment],
        verdicts: Iterable[Verdict] = (),
        seen: Iterable[Commitment] = (),
        coldkeys: Mapping[str, str] | None = None,
        rules: str | None = None,
    ) -> list[Commitment]:
        """Store the epoch with its plan and return the plan; if it was begun before, the stored one.

        ``verdicts``: those that need no evaluation; ``seen``: as for ``record_commitments``. They are stored
        with the plan or not at all. ``coldkeys``: by hotkey, of everybody registered; None: unknown.
        ``rules``: the hash of the rules in force. Raises LedgerError if it was begun with another seed: the
        start block had another hash, so this is another chain's ledger.
        """
        stored = self.epoch(epoch.start_block)
        if stored is not None:
            self._require_same_chain(stored, epoch)
            return self.epoch_plan(epoch.start_block) or []
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO epochs (start_block, end_block, seed, begun_at, rules) VALUES (?, ?, ?, ?, ?)",
                (epoch.start_block, epoch.end_block, epoch.seed, self._clock(), rules),
            )
            connection.executemany(
                "INSERT INTO places (epoch, place, hotkey, uid, model_id, block) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (epoch.start_block, place, c.hotkey, c.uid, str(c.model_id), c.block)
                    for place, c in enumerate(plan)
                ],
            )
            for verdict in verdicts:
                _insert_verdict(connection, verdict)
            _insert_commitments(connection, seen)
            if coldkeys is not None:
                _insert_owners(connection, coldkeys)
        return list(plan)

    def _require_same_chain(self, stored: Epoch, epoch: Epoch) -> None:
        if stored.seed != epoch.seed:
            raise LedgerError(
                f"Ledger {self._database.location}: the epoch from block {epoch.start_block} was begun with"
                f" seed {stored.seed}, and now has {epoch.seed}: this is the ledger of another chain.",
                remedy="Use a data folder of its own for every chain.",
            )

    def epoch(self, start_block: int) -> Epoch | None:
        """The epoch as it was begun, or None."""
        rows = self._database.read(
            "SELECT start_block, end_block, seed FROM epochs WHERE start_block = ?", (start_block,)
        )
        return Epoch(**dict(rows[0])) if rows else None

    def open_epochs(self) -> list[int]:
        """The start blocks of all epochs begun but not closed, oldest first."""
        rows = self._database.read(
            "SELECT start_block FROM epochs WHERE closed_at IS NULL ORDER BY start_block"
        )
        return [row["start_block"] for row in rows]

    def epoch_plan(self, start_block: int) -> list[Commitment] | None:
        """The epoch's commitments in the order of their places; None if it was not begun."""
        if self.epoch(start_block) is None:
            return None
        return self._database.records(
            commitment_from, "SELECT * FROM places WHERE epoch = ? ORDER BY place", (start_block,)
        )

    def evaluations(self, start_block: int) -> list[Evaluation]:
        """The epoch's evaluations, in the order in which they were made."""
        return self._database.records(
            evaluation_from,
            f"SELECT * FROM evaluations AS recorded {MEASURED} WHERE recorded.epoch = ? ORDER BY recorded.id",
            (start_block,),
        )

    def find_evaluation(self, start_block: int, content_hash: str) -> Evaluation | None:
        """The epoch's evaluation of a content, for whichever hotkey."""
        found = [each for each in self.evaluations(start_block) if each.content_hash == content_hash]
        return found[0] if found else None

    def record_base_loss(self, measurement: Measurement) -> None:
        """Store the base model's measurement without an adapter."""
        with self._database.transaction() as connection:
            identifier = _insert_measurement(connection, measurement, self._clock())
            connection.execute("INSERT INTO base_losses (measurement) VALUES (?)", (identifier,))

    def base_loss(self) -> Measurement | None:
        """The base model's latest measurement."""
        found = self._database.records(
            measurement_from, f"SELECT * FROM base_losses AS recorded {MEASURED} ORDER BY m.id DESC LIMIT 1"
        )
        return found[0] if found else None

    def record_verdict(self, verdict: Verdict, evaluation: Evaluation | None = None) -> int | None:
        """Store a hotkey's verdict in a running epoch, replacing an earlier one. ``evaluation``: the one it
        is based on, unless already stored; returns its id. One per hotkey and epoch.
        Raises LedgerError for a loss without an evaluation.
        """
        identifier = None
        with self._database.transaction() as connection:
            _require_open(connection, verdict.epoch)
            if evaluation is not None:
                identifier = _insert_evaluation(connection, evaluation, self._clock())
            _insert_verdict(connection, verdict)
        return identifier

    def verdicts(self, start_block: int) -> list[Verdict]:
        """The epoch's verdicts, by uid."""
        return self._database.records(
            verdict_from, f"{VERDICTS} WHERE v.epoch = ? ORDER BY v.uid, v.hotkey", (start_block,)
        )

    def evaluation_faults(self, content_hash: str, *, before: int) -> int:
        """The consecutive epochs before block ``before`` in which the worker failed on this content."""
        rows = self._database.read(
            "SELECT epoch, max(standing <> 'eligible') AS failed FROM verdicts WHERE content_hash = ?"
            " AND epoch < ? AND (standing = 'eligible' OR fault IN (SELECT value FROM json_each(?)))"
            " GROUP BY epoch ORDER BY epoch DESC",
            (content_hash, before, json.dumps(sorted(SET_ASIDE))),
        )
        return sum(1 for _ in takewhile(lambda row: bool(row["failed"]), rows))

    def close_epoch(
        self, settlement: Settlement, *, block: int, borrowed: Mapping[str, Borrowed] | None = None
    ) -> None:
        """Store what a begun epoch came to, once: on a closed epoch this does nothing.

        ``block``: the chain's height by now: weights of this epoch are set later than that. ``borrowed``:
        what ``SketchIndex.look_again`` found, by content hash.
        """
        epoch, scores = settlement.epoch, settlement.scores
        rates, shares = settlement.win_rates, settlement.shares
        if self.is_closed(epoch):
            return
        with self._database.transaction() as connection:
            _require_open(connection, epoch)
            for verdict in settlement.copies:
                _insert_verdict(connection, verdict)
            remember_again(connection, borrowed or {})
            bear_witness(connection, settlement.witnesses)
            connection.execute(
                "UPDATE epochs SET closed_at = ?, closed_block = ? WHERE start_block = ?",
                (self._clock(), block, epoch),
            )
            connection.execute("DELETE FROM scores")
            connection.executemany("INSERT INTO scores (hotkey, score) VALUES (?, ?)", scores.items())
            connection.executemany(
                "INSERT OR REPLACE INTO turns (hotkey, epoch) VALUES (?, ?)",
                [(hotkey, epoch) for hotkey in settlement.turns],
            )
            connection.executemany(
                "INSERT INTO results (epoch, hotkey, win_rate, share, score) VALUES (?, ?, ?, ?, ?)",
                [
                    (epoch, hotkey, rates.get(hotkey), shares.get(hotkey), scores.get(hotkey))
                    for hotkey in scores.keys() | rates.keys() | shares.keys()
                ],
            )
            connection.executemany(
                "UPDATE owners SET evaluations = evaluations + 1,"
                " best_win_rate = max(coalesce(best_win_rate, 0), ?) WHERE hotkey = ?",
                [
                    (rates.get(verdict.hotkey, 0.0), verdict.hotkey)
                    for verdict in settlement.verdicts
                    if verdict.standing != "not_evaluated"
                ],
            )
            prune(connection, self._keep_epochs)
            forget_beyond(connection, KEEP_SKETCH_BYTES)

    def closed_block(self, start_block: int) -> int | None:
        """The chain's height when the epoch was closed; None if it was not."""
        rows = self._database.read("SELECT closed_block FROM epochs WHERE start_block = ?", (start_block,))
        return rows[0]["closed_block"] if rows else None

    def is_closed(self, start_block: int) -> bool:
        rows = self._database.read("SELECT closed_at FROM epochs WHERE start_block = ?", (start_block,))
        return bool(rows) and rows[0]["closed_at"] is not None

    # --- weights -----------------------------------------------------------------------------------------

    def record_choice(
        self, start_block: int, weights: Mapping[str, float], consensus: Mapping[str, float] | None = None
    ) -> None:
        """Store the weights that are about to be sent for an epoch, in place of an earlier choice.

        ``consensus``: by hotkey, what the chain showed when they were made from the scores; None: they were
        not.
        """
        stored_consensus = None if consensus is None else json.dumps(dict(consensus))
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE epochs SET consensus = ? WHERE start_block = ?", (stored_consensus, start_block)
            )
            connection.execute("DELETE FROM choices WHERE epoch = ?", (start_block,))
            connection.executemany(
                "INSERT INTO choices (epoch, hotkey, weight) VALUES (?, ?, ?)",
                [(start_block, hotkey, weight) for hotkey, weight in weights.items()],
            )

    def chosen_weights(self, start_block: int) -> dict[str, float] | None:
        """The weights that were about to be sent, or sent, for an epoch, unless they are recorded as set."""
        rows = self._database.read("SELECT hotkey, weight FROM choices WHERE epoch = ?", (start_block,))
        return {row["hotkey"]: row["weight"] for row in rows} or None

    def record_weights(self, weights: WeightsSet) -> None:
        """Store weights that the chain has taken. An epoch can have several; the latest counts."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM choices")
            cursor = connection.execute(
                "INSERT INTO weights_sets (epoch, block, extrinsic, set_at) VALUES (?, ?, ?, ?)",
                (weights.epoch, weights.block, weights.extrinsic, self._clock()),
            )
            identifier = _inserted_id(cursor)
            connection.executemany(
                "INSERT INTO weights (weights_set, hotkey, weight) VALUES (?, ?, ?)",
                [(identifier, hotkey, weight) for hotkey, weight in weights.weights.items()],
            )

    def last_weights(self, *, before: int | None = None) -> WeightsSet | None:
        """The weights set last; ``before``: of those that the chain took before this block."""
        if before is None:
            return self._weights("SELECT max(id) FROM weights_sets", ())
        return self._weights("SELECT max(id) FROM weights_sets WHERE block < ?", (before,))

    def weights_of_epoch(self, start_block: int) -> WeightsSet | None:
        """The weights last set in this epoch."""
        return self._weights("SELECT max(id) FROM weights_sets WHERE epoch = ?", (start_block,))

    def _weights(self, which: str, parameters: tuple[int, ...]) -> WeightsSet | None:
        rows = self._database.read(
            "SELECT s.epoch, s.block, s.extrinsic, w.hotkey, w.weight FROM weights_sets AS s"
            f" LEFT JOIN weights AS w ON w.weights_set = s.id WHERE s.id = ({which})",
            parameters,
        )
        if not rows:
            return None
        weights = {row["hotkey"]: row["weight"] for row in rows if row["hotkey"] is not None}
        return WeightsSet(rows[0]["epoch"], rows[0]["block"], rows[0]["extrinsic"], weights)


def _insert_commitments(connection: Connection, commitments: Iterable[Commitment]) -> None:
    connection.executemany(
        "INSERT INTO commitments (hotkey, block, uid, model_id) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET uid = excluded.uid, model_id = excluded.model_id"
        " WHERE uid <> excluded.uid OR model_id <> excluded.model_id",
        [(each.hotkey, each.block, each.uid, str(each.model_id)) for each in commitments],
    )


def _insert_sight(
    connection: Connection, model_id: ModelId, epoch: int, content_hash: str | None, tries: int = 1
) -> None:
    """What is known of a ModelId stays known, and as it first was."""
    connection.execute(
        "INSERT INTO sights (model_id, content_hash, epoch, tries) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET content_hash = excluded.content_hash,"
        " epoch = excluded.epoch, tries = tries + excluded.tries WHERE content_hash IS NULL",
        (str(model_id), content_hash, epoch, tries),
    )


def _insert_owners(connection: Connection, coldkeys: Mapping[str, str]) -> None:
    connection.execute("UPDATE owners SET registered = 0 WHERE registered")
    connection.executemany(
        "INSERT INTO owners (hotkey, coldkey, registered) VALUES (?, ?, 1)"
        " ON CONFLICT DO UPDATE SET coldkey = excluded.coldkey, registered = 1",
        coldkeys.items(),
    )


def _insert_evaluation(connection: Connection, evaluation: Evaluation, now: float) -> int:
    cursor = connection.execute(
        "INSERT INTO evaluations (epoch, hotkey, model_id, content_hash, left_out, measurement)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            evaluation.epoch,
            evaluation.hotkey,
            str(evaluation.model_id),
            evaluation.content_hash,
            json.dumps(evaluation.left_out),
            _insert_measurement(connection, evaluation.measurement, now),
        ),
    )
    return _inserted_id(cursor)


def _insert_measurement(connection: Connection, measurement: Measurement, now: float) -> int:
    """Store a measurement with its provenance and return its id. ``now``: UTC seconds."""
    provenance = measurement.provenance
    setup = (
        provenance.code_version,
        json.dumps(dict(provenance.libraries), sort_keys=True),
        setup_text(provenance.device),
        setup_text(provenance.precision),
        provenance.base_model,
        provenance.evaluation_set,
    )
    connection.execute(
        f"INSERT INTO setups ({_SETUP}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", setup
    )
    select = f"SELECT id FROM setups WHERE ({_SETUP}) = (?, ?, ?, ?, ?, ?)"
    [setup_id] = connection.execute(select, setup).fetchone()
    cursor = connection.execute(
        "INSERT INTO measurements (loss, eval_tokens, train_rows, train_tokens, steps, seconds, seed, setup,"
        " recorded_at, row_nll, sealed_loss) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            measurement.loss,
            measurement.eval_tokens,
            measurement.train_rows,
            measurement.train_tokens,
            measurement.steps,
            measurement.seconds,
            provenance.seed,
            setup_id,
            now,
            b"".join(map(NUMBER.pack, measurement.row_nll)),
            measurement.sealed_loss,
        ),
    )
    return _inserted_id(cursor)


def _insert_verdict(connection: Connection, verdict: Verdict) -> None:
    """Store a verdict, replacing an earlier one on the same hotkey in the same epoch."""
    connection.execute(
        "INSERT OR REPLACE INTO verdicts (epoch, hotkey, uid, model_id, block, standing, reason,"
        " detail, content_hash, fault, copied, measurement) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            verdict.epoch,
            verdict.hotkey,
            verdict.uid,
            verdict.model_id,
            verdict.block,
            verdict.standing,
            verdict.reason,
            verdict.detail,
            verdict.content_hash,
            verdict.fault,
            json.dumps(verdict.copied),
            None if verdict.loss is None else _measurement_of(connection, verdict),
        ),
    )


def _measurement_of(connection: Connection, verdict: Verdict) -> int:
    """The measurement of the verdict's loss: its content's in its epoch, for whichever hotkey."""
    row = connection.execute(
        "SELECT e.measurement FROM evaluations AS e JOIN measurements AS m ON m.id = e.measurement"
        " WHERE e.epoch = ? AND e.content_hash = ? AND m.loss = ?",
        (verdict.epoch, verdict.content_hash, verdict.loss),
    ).fetchone()
    if row is None:
        raise LedgerError(
            f"The verdict on {verdict.hotkey} has a loss of {verdict.loss}, which was never measured.",
            remedy="This is a bug: please report it with this message.",
        )
    return int(row["measurement"])


def _inserted_id(cursor: Cursor) -> int:
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _require_open(connection: Connection, start_block: int) -> None:
    """Raise LedgerError unless the epoch was begun and is not closed."""
    row = connection.execute("SELECT closed_at FROM epochs WHERE start_block = ?", (start_block,)).fetchone()
    if row is None or row["closed_at"] is not None:
        state = "was not begun" if row is None else "is closed"
        raise LedgerError(
            f"The epoch from block {start_block} {state}: nothing can be recorded in it.",
            remedy="This is a bug: please report it with this message.",
        )
