"""The ledger's own records, and the way from table rows to records."""

import json
import sqlite3
import struct
from dataclasses import dataclass

from flockoff.dataset import Claim
from flockoff.errors import Reason
from flockoff.records import Commitment, Evaluation, Measurement, ModelId, Provenance, Standing, Verdict

NUMBER = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class LedgerIdentity:
    """``hotkey``: the validator's; None where it did not say."""

    netuid: int
    competition: str
    hotkey: str | None


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """``id`` is the ledger's own name of it; ``recorded_at``: UTC seconds."""

    id: int
    recorded_at: float
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One hotkey in one epoch. None: there is no such thing (yet), or it was not this hotkey's turn.

    ``uid`` and ``model_id`` are the verdict's, or without one those of the hotkey's latest commitment.
    """

    hotkey: str
    uid: int | None
    model_id: str | None  # as committed; may be malformed
    loss: float | None  # nats per assistant token
    win_rate: float | None
    share: float | None
    score: float | None
    weight: float | None
    standing: Standing | None
    reason: Reason | None
    detail: str


def commitment_from(row: sqlite3.Row) -> Commitment:
    return Commitment(row["hotkey"], row["uid"], ModelId.parse(row["model_id"]), row["block"])


def claim_from(row: sqlite3.Row) -> Claim:
    return Claim(row["content_hash"], row["hotkey"], row["block"], order=row["uid"])


def measurement_from(row: sqlite3.Row) -> Measurement:
    """From a row of ``measurements`` joined with its ``setups``."""
    return Measurement(
        loss=row["loss"],
        eval_tokens=row["eval_tokens"],
        train_rows=row["train_rows"],
        train_tokens=row["train_tokens"],
        steps=row["steps"],
        seconds=row["seconds"],
        provenance=Provenance(
            code_version=row["code_version"],
            libraries=json.loads(row["libraries"]),
            device=row["device"],
            precision=row["precision"],
            base_model=row["base_model"],
            evaluation_set=row["evaluation_set"],
            seed=row["seed"],
        ),
        row_nll=tuple(value for (value,) in NUMBER.iter_unpack(row["row_nll"])),
        sealed_loss=row["sealed_loss"],
    )


def evaluation_from(row: sqlite3.Row) -> Evaluation:
    return Evaluation(
        epoch=row["epoch"],
        hotkey=row["hotkey"],
        model_id=ModelId.parse(row["model_id"]),
        content_hash=row["content_hash"],
        measurement=measurement_from(row),
        left_out=tuple(json.loads(row["left_out"])),
    )


def stored_evaluation_from(row: sqlite3.Row) -> StoredEvaluation:
    return StoredEvaluation(row["evaluation_id"], row["recorded_at"], evaluation_from(row))


def verdict_from(row: sqlite3.Row) -> Verdict:
    return Verdict(
        epoch=row["epoch"],
        hotkey=row["hotkey"],
        uid=row["uid"],
        model_id=row["model_id"],
        block=row["block"],
        standing=row["standing"],
        reason=_reason(row),
        detail=row["detail"],
        content_hash=row["content_hash"],
        loss=row["loss"],
        fault=row["fault"],
    )


def leaderboard_row_from(row: sqlite3.Row) -> LeaderboardRow:
    return LeaderboardRow(
        hotkey=row["hotkey"],
        uid=row["uid"],
        model_id=row["model_id"],
        loss=row["loss"],
        win_rate=row["win_rate"],
        share=row["share"],
        score=row["score"],
        weight=row["weight"],
        standing=row["standing"],
        reason=_reason(row),
        detail=row["detail"] or "",
    )


def _reason(row: sqlite3.Row) -> Reason | None:
    return Reason(row["reason"]) if row["reason"] else None
