"""Snapshots of small subnets, to decide on without a chain."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha1

from flockoff.competition import ORIGINAL_COMPETITION_ID
from flockoff.records import ModelId, Neuron, RawCommitment, SubnetSnapshot

OWNER = "owner"


def model_id(name: str, competition_id: str = ORIGINAL_COMPETITION_ID) -> ModelId:
    """A ModelId of its own for every ``name``."""
    return ModelId("ann/data", competition_id, sha1(name.encode()).hexdigest())


def neuron(uid: int, hotkey: str, *, consensus: float = 0.0, permit: bool = True) -> Neuron:
    return Neuron(uid, hotkey, f"coldkey of {hotkey}", 100.0, permit, 0, consensus, 0.0, 0.0)


def snapshot_of(
    hotkeys: Sequence[str],
    commitments: Mapping[str, tuple[str, int]] | None = None,
    *,
    block: int = 1000,
    consensus: Mapping[str, float] | None = None,
    owner: bool = True,
    min_allowed_weights: int = 0,
    without_permit: Collection[str] = (),
) -> SubnetSnapshot:
    """Uid 0 is the owner's unless ``owner`` is False. ``commitments``: by hotkey, text and block."""
    everybody = [*([OWNER] if owner else []), *hotkeys]
    shares = consensus or {}
    return SubnetSnapshot(
        netuid=1,
        block=block,
        owner_hotkey=OWNER,
        neurons=tuple(
            neuron(uid, hotkey, consensus=shares.get(hotkey, 0.0), permit=hotkey not in without_permit)
            for uid, hotkey in enumerate(everybody)
        ),
        commitments={
            hotkey: RawCommitment(hotkey, text, made) for hotkey, (text, made) in (commitments or {}).items()
        },
        min_allowed_weights=min_allowed_weights,
    )
