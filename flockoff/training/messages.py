"""What the evaluator and its worker say to each other: one JSON object a line.

To the worker: first an Assignment, then Requests, one at a time. From the worker: Progress while it works,
then one Measurement or one error; ``null`` once after the assignment, when the base model is loaded.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from flockoff.competition import BaseModel, Competition, EvaluationSet, Limits, Lora, Training
from flockoff.errors import EvaluationFault, FlockoffError, MinerFault, Reason, SetupError
from flockoff.records import Measurement, Progress, Provenance


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker works with from its start to its end."""

    competition: Competition
    model_dir: str
    evaluation_file: str
    device: str | None
    threads: int | None


@dataclass(frozen=True, slots=True)
class Request:
    """One dataset to train on and measure under ``seed``; without a dataset, the base model to measure."""

    dataset: str | None = None
    content_hash: str = ""
    seed: int = 0


Reply = Progress | Measurement | FlockoffError | None


def encode_assignment(assignment: Assignment) -> str:
    return json.dumps(dataclasses.asdict(assignment))


def decode_assignment(line: str) -> Assignment:
    """The parts of the competition that training does not read keep their defaults."""
    table = json.loads(line)
    rules = table["competition"]
    table["competition"] = Competition(
        id=rules["id"],
        base_model=BaseModel(**rules["base_model"]),
        lora=Lora(**rules["lora"]),
        training=Training(**rules["training"]),
        evaluation=EvaluationSet(**rules["evaluation"]),
        limits=Limits(**rules["limits"]),
    )
    return Assignment(**table)


def encode_request(request: Request) -> str:
    return json.dumps(dataclasses.asdict(request))


def decode_request(line: str) -> Request:
    return Request(**json.loads(line))


def encode_reply(reply: Reply) -> str:
    """Floats survive to the last bit: JSON has them written shortest and read back exactly."""
    match reply:
        case None:
            table: dict[str, Any] = {"kind": "ready"}
        case Progress():
            table = {"kind": "progress", **dataclasses.asdict(reply)}
        case Measurement():
            table = {"kind": "measurement", **dataclasses.asdict(reply)}
        case MinerFault():
            table = {"kind": "miner_fault", "reason": reply.reason.value, **_texts(reply)}
        case SetupError():
            table = {"kind": "setup_error", **_texts(reply)}
        case FlockoffError():
            table = {"kind": "evaluation_fault", **_texts(reply)}
    return json.dumps(table)


def decode_reply(line: str) -> Reply:
    table = json.loads(line)
    match table.pop("kind"):
        case "ready":
            return None
        case "progress":
            return Progress(**table)
        case "measurement":
            return Measurement(**table | {"provenance": Provenance(**table["provenance"])})
        case "miner_fault":
            return MinerFault(Reason(table["reason"]), table["message"], remedy=table["remedy"])
        case "setup_error":
            return SetupError(table["message"], remedy=table["remedy"])
        case "evaluation_fault":
            return EvaluationFault(table["message"], remedy=table["remedy"])
        case kind:
            raise ValueError(f"unknown reply {kind!r}")


def _texts(error: FlockoffError) -> dict[str, str]:
    return {"message": error.message, "remedy": error.remedy}
