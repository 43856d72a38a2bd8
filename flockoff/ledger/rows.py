"""Conversion of table rows to records."""

import json
import sqlite3
import struct
from dataclasses import asdict, dataclass

from flockoff.dataset import Claim
from flockoff.errors import FaultKind, Reason
from flockoff.records import (
    Commitment,
    ComputeDevice,
    Evaluation,
    Measurement,
    ModelId,
    Precision,
    Provenance,
    Verdict,
)

NUMBER = struct.Struct("<d")

# Joins "recorded" with its measurements and their setups.
MEASURED = "JOIN measurements AS m ON m.id = recorded.measurement JOIN setups AS s ON s.id = m.setup"
# A verdict's loss is that of the measurement it is on.
VERDICTS = "SELECT v.*, m.loss FROM verdicts AS v LEFT JOIN measurements AS m ON m.id = v.measurement"


@dataclass(frozen=True, slots=True)
class LedgerIdentity:
    """``hotkey``: the validator's; ``genesis``: its chain's genesis hash, in hex. None where unknown."""

    netuid: int
    competition: str
    hotkey: str | None
    genesis: str | None


def commitment_from(row: sqlite3.Row) -> Commitment:
    return Commitment(row["hotkey"], row["uid"], ModelId.parse(row["model_id"]), row["block"])


def claim_from(row: sqlite3.Row) -> Claim:
    return Claim(row["content_hash"], row["hotkey"], row["block"], order=row["uid"])


def setup_text(part: ComputeDevice | Precision) -> str:
    """As ``setups`` keeps it: the same JSON for the same record, as the migrations write it."""
    return json.dumps(asdict(part), separators=(",", ":"), ensure_ascii=False)


def device_from(text: str) -> ComputeDevice:
    return ComputeDevice(**json.loads(text))


def precision_from(text: str) -> Precision:
    return Precision.from_table(json.loads(text))


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
            device=device_from(row["device"]),
            precision=precision_from(row["precision"]),
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


def verdict_from(row: sqlite3.Row) -> Verdict:
    """From a row of ``VERDICTS``."""
    return Verdict(
        epoch=row["epoch"],
        hotkey=row["hotkey"],
        uid=row["uid"],
        model_id=row["model_id"],
        block=row["block"],
        standing=row["standing"],
        reason=Reason(row["reason"]) if row["reason"] else None,
        detail=row["detail"],
        content_hash=row["content_hash"],
        loss=row["loss"],
        fault=FaultKind(row["fault"]) if row["fault"] else None,
        copied=tuple(json.loads(row["copied"])),
    )
