"""Small records to fill a ledger with."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from flockoff.dataset import Borrowed, Claim, Sketcher
from flockoff.epoch.settle import Settlement
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
    Verdict,
)

NETUID = 7
COMPETITION = "f127"
VALIDATOR = "5Validator"
EPOCH = Epoch(start_block=360, end_block=720, seed=3823750022)


def open_ledger(path: Path, *, read_only: bool = False) -> Ledger:
    return Ledger.open(path, netuid=NETUID, competition=COMPETITION, hotkey=VALIDATOR, read_only=read_only)


def model_id(commit: str = "a") -> ModelId:
    return ModelId("ann/data", COMPETITION, commit * 40)


def commitment(hotkey: str, block: int, *, uid: int = 1, commit: str = "a") -> Commitment:
    return Commitment(hotkey, uid, model_id(commit), block)


def measurement(
    loss: float = 1.5, *, seed: int = EPOCH.seed, device: str = "cpu", threads: int | None = None
) -> Measurement:
    provenance = Provenance(
        code_version="0.1.0",
        libraries={"torch": "2.15.0", "peft": "0.21.0"},
        device=ComputeDevice(device, threads),
        precision=Precision("float32", "float32", 2048),
        base_model="Qwen/Qwen2.5-1.5B-Instruct@989aa79",
        evaluation_set="0" * 64,
        seed=seed,
    )
    return Measurement(loss, 1000, 64, 4096, 16, 2.5, provenance, (0.1, 2.5e-300, 1 / 3), 1.25)


def evaluation(hotkey: str, loss: float = 1.5, *, epoch: int = EPOCH.start_block) -> Evaluation:
    return Evaluation(epoch, hotkey, model_id(), f"hash of {hotkey}", measurement(loss), (1, 20_000))


def eligible(hotkey: str, loss: float = 1.5, *, uid: int = 1, epoch: int = EPOCH.start_block) -> Verdict:
    return Verdict(epoch, hotkey, uid, str(model_id()), 100, "eligible", None, "", f"hash of {hotkey}", loss)


def begin(ledger: Ledger, hotkeys: Sequence[str] = ("ann", "bob"), epoch: Epoch = EPOCH) -> None:
    ledger.begin_epoch(epoch, [commitment(hotkey, 100 + i, uid=i) for i, hotkey in enumerate(hotkeys)])


def judge(ledger: Ledger, verdict: Verdict) -> None:
    """Store a verdict, with its evaluation unless that is stored already."""
    stored = [each.hotkey for each in ledger.evaluations(verdict.epoch)]
    is_new = verdict.loss is not None and verdict.hotkey not in stored
    ledger.record_verdict(verdict, _evaluation_of(verdict) if is_new else None)


def _evaluation_of(verdict: Verdict) -> Evaluation:
    assert verdict.loss is not None and verdict.content_hash is not None
    made = evaluation(verdict.hotkey, verdict.loss, epoch=verdict.epoch)
    return replace(made, content_hash=verdict.content_hash)


def evaluate(ledger: Ledger, made: Evaluation) -> int:
    """Store an evaluation and its verdict; returns the evaluation's id."""
    verdict = Verdict(
        epoch=made.epoch,
        hotkey=made.hotkey,
        uid=1,
        model_id=str(made.model_id),
        block=100,
        standing="eligible",
        reason=None,
        detail="",
        content_hash=made.content_hash,
        loss=made.measurement.loss,
    )
    identifier = ledger.record_verdict(verdict, made)
    assert identifier is not None
    return identifier


def settlement(
    start_block: int,
    *,
    scores: Mapping[str, float],
    evaluated: Collection[str] = (),
    win_rates: Mapping[str, float] | None = None,
    shares: Mapping[str, float] | None = None,
) -> Settlement:
    """An epoch's outcome, without verdicts."""
    return Settlement(start_block, (), (), win_rates or {}, shares or {}, scores, {}, tuple(evaluated), {})


def claim(ledger: Ledger, content_hash: str, hotkey: str, block: int, uid: int) -> None:
    """Record, in the running epoch, that ``hotkey`` committed some content in ``block``."""
    made = Claim(content_hash, hotkey, block, uid)
    empty = Sketcher(ledger.sketches.key).sketch()
    ledger.remember_dataset(made, model_id(), empty, ledger.open_epochs()[-1], Borrowed(0))
