"""Small subnets as the chain shows them, made without one."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from flockoff.records import EpochStatus, SubnetSnapshot, SubnetTerms, SubnetView
from tests.support.subnets import model_id, snapshot_of

TERMS = SubnetTerms(
    name="flock",
    alpha_price=0.02,
    alpha_per_block=1.0,
    owner_cut=0.18,
    pool_tao=1000.0,
    pool_alpha=50_000.0,
    registration_cost=0.5,
    registration_open=True,
    immunity_blocks=5000,
    max_uids=256,
    max_validators=64,
    tempo=360,
    weights_rate_limit=100,
    weights_version_key=7,
    activity_cutoff=5000,
    commit_reveal=False,
)


def view_of(
    snapshot: SubnetSnapshot,
    weights: Mapping[int, Mapping[int, float]] | None = None,
    *,
    emission: Mapping[int, float] | None = None,
    terms: SubnetTerms = TERMS,
) -> SubnetView:
    """The running epoch began 100 blocks ago, and a block takes 12 seconds."""
    start = snapshot.block - 100
    return SubnetView(
        snapshot=snapshot,
        epoch=EpochStatus(snapshot.block, start, start + terms.tempo, seconds_per_block=12.0),
        terms=terms,
        weights=weights or {},
        trust={},
        emission=emission or {},
        made_at=1_800_000_000.0,
    )


def large_view(miners: int, validators: int, *, hostile: str | None = None) -> SubnetView:
    """Uid 0 is the owner's, with some burn on it; then come validators, then miners.

    Every tenth miner's commitment does not count; ``hostile`` is what one of them committed.
    """
    names = [f"5V{n:03d}" + "v" * 43 for n in range(validators)] + [
        f"5M{n:03d}" + "m" * 43 for n in range(miners)
    ]
    first = 1 + validators
    plain = snapshot_of(
        names,
        {
            name: (str(model_id(name)) if n % 10 else hostile or "no ModelId", 10 + n)
            for n, name in enumerate(names[validators:])
        },
        block=100_000,
    )
    draws = np.random.default_rng(7)
    shares = np.exp(-np.arange(miners) / 8)
    weights = {}
    for uid in range(1, first):
        row = {
            first + n: float(shares[n] * draws.uniform(0.7, 1.3)) for n in range(miners) if shares[n] > 1e-4
        }
        total = sum(row.values()) or 1.0
        weights[uid] = {0: 0.1} | {target: 0.9 * value / total for target, value in row.items()}
    mean = {
        uid: float(np.mean([row.get(uid, 0.0) for row in weights.values()] or [0.0]))
        for uid in range(first + miners)
    }
    neurons = tuple(
        replace(
            neuron,
            incentive=mean[neuron.uid],
            consensus=mean[neuron.uid],
            stake=1e5 / (1 + neuron.uid),
            last_update=100_000 - 40 * neuron.uid,
            validator_permit=neuron.uid < first,
        )
        for neuron in plain.neurons
    )
    view = view_of(replace(plain, neurons=neurons), weights, emission={uid: 1.0 for uid in range(first)})
    return replace(view, trust={uid: 0.95 for uid in range(1, first)})
