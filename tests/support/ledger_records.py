"""Small records to fill a ledger with."""

from collections.abc import Sequence
from pathlib import Path

from flockoff.ledger import Ledger
from flockoff.records import Commitment, Epoch, Evaluation, Measurement, ModelId, Provenance, Verdict

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


def measurement(loss: float = 1.5, *, seed: int = EPOCH.seed, device: str = "cpu") -> Measurement:
    provenance = Provenance(
        code_version="0.1.0",
        libraries={"torch": "2.15.0", "peft": "0.21.0"},
        device=device,
        precision="weights float32, compute float32",
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
