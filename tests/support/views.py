"""Small subnets as the chain shows them, made without one."""

from collections.abc import Mapping

from flockoff.records import EpochStatus, SubnetSnapshot, SubnetTerms, SubnetView

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
