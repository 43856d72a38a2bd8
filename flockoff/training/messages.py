"""The protocol between the evaluator and its worker: one JSON object a line.

To the worker: first an Assignment, then Requests, one at a time. From the worker: Progress while it works,
then one Measurement or Influence, or one error; Ready once after the assignment, when the base model is
loaded; and Alive every few seconds, whatever else it is doing.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from flockoff.competition import BaseModel, Competition, EvaluationSet, Limits, Lora, SealedSet, Training
from flockoff.errors import EvaluationFault, FlockoffError, MinerFault, Reason, SetupError
from flockoff.records import ComputeDevice, Influence, Measurement, Progress

# Memory saving at the cost of speed. halves: passes of half the size; rows: one row at a time, with gradient
# checkpointing. The computation is the same in another order, which moves the last digits.
Saving = Literal["none", "halves", "rows"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A worker's configuration for its whole life."""

    competition: Competition
    model_dir: str
    evaluation_file: str
    device: str | None = None
    threads: int | None = None
    sealed_file: str | None = None  # where the competition has a sealed evaluation set
    saving: Saving = "none"


@dataclass(frozen=True, slots=True)
class Request:
    """Train on the ``rows`` in a file of ``rows.write_rows`` and evaluate under ``seed``; None: evaluate the
    base model. ``influence``: train, and tell what each row does instead.
    """

    rows: str | None = None
    seed: int = 0
    influence: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """The base model is loaded on ``device``.

    On a GPU, ``fused`` are the kernel paths that training uses, ``refused`` those it does not: "path: why".
    """

    device: ComputeDevice
    fused: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    seconds_per_token: float | None = None  # of training, where the worker was calibrated


@dataclass(frozen=True, slots=True)
class Alive:
    """The worker's process is alive, with ``memory`` bytes resident of the ``limit`` it may have."""

    memory: int
    limit: int


# killed: on Linux mostly for memory; lost: with its host; absent: no device available
Cause = Literal["killed", "died", "hung", "memory", "device", "lost", "absent"]


class WorkerFault(EvaluationFault):
    """A fault that a new worker may not meet again; ``cause`` says what was wrong with this one."""

    def __init__(self, cause: Cause, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.cause: Cause = cause


Reply = Ready | Alive | Progress | Measurement | Influence | FlockoffError


def encode_assignment(assignment: Assignment) -> str:
    return json.dumps(dataclasses.asdict(assignment))


def decode_assignment(line: str) -> Assignment:
    """Parts of the competition that training does not read keep their defaults."""
    table = json.loads(line)
    rules = table["competition"]
    table["competition"] = Competition(
        id=rules["id"],
        base_model=BaseModel(**rules["base_model"]),
        lora=Lora(**rules["lora"]),
        training=Training(**rules["training"]),
        evaluation=EvaluationSet(**rules["evaluation"]),
        sealed=SealedSet(**rules["sealed"]) if rules["sealed"] else None,
        limits=Limits(**rules["limits"]),
    )
    return Assignment(**table)


def encode_request(request: Request) -> str:
    return json.dumps(dataclasses.asdict(request))


def decode_request(line: str) -> Request:
    return Request(**json.loads(line))


def encode_reply(reply: Reply) -> str:
    """Floats survive to the last bit: JSON writes their shortest exact form."""
    match reply:
        case Ready():
            table: dict[str, Any] = {"kind": "ready", **dataclasses.asdict(reply)}
        case Alive():
            table = {"kind": "alive", **dataclasses.asdict(reply)}
        case Progress():
            table = {"kind": "progress", **dataclasses.asdict(reply)}
        case Measurement():
            table = {"kind": "measurement", **dataclasses.asdict(reply)}
        case Influence():
            table = {"kind": "influence", **dataclasses.asdict(reply)}
        case MinerFault():
            table = {"kind": "miner_fault", "reason": reply.reason.value, **_texts(reply)}
        case SetupError():
            table = {"kind": "setup_error", **_texts(reply)}
        case WorkerFault():
            table = {"kind": "worker_fault", "cause": reply.cause, **_texts(reply)}
        case FlockoffError():
            table = {"kind": "evaluation_fault", **_texts(reply)}
    return json.dumps(table)


def decode_reply(line: str) -> Reply:
    table = json.loads(line)
    match table.pop("kind"):
        case "ready":
            fused, refused = tuple(table["fused"]), tuple(table["refused"])
            device = ComputeDevice(**table["device"])
            return Ready(device, fused, refused, table["seconds_per_token"])
        case "alive":
            return Alive(**table)
        case "progress":
            return Progress(**table)
        case "measurement":
            return Measurement.from_table(table)
        case "influence":
            return Influence(tuple(table["rows"]))
        case "miner_fault":
            return MinerFault(Reason(table["reason"]), table["message"], remedy=table["remedy"])
        case "setup_error":
            return SetupError(table["message"], remedy=table["remedy"])
        case "worker_fault":
            return WorkerFault(**table)
        case "evaluation_fault":
            return EvaluationFault(table["message"], remedy=table["remedy"])
        case kind:
            raise ValueError(f"unknown reply {kind!r}")


def _texts(error: FlockoffError) -> dict[str, str]:
    return {"message": error.message, "remedy": error.remedy}
