"""A subnet's standings from the chain alone: ranking, validators' views, and the worth of a share.

Burn is the incentive of hotkeys of the owner's coldkey, which the chain does not pay out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from flockoff.epoch.entries import enter_without_memory
from flockoff.errors import MinerFault
from flockoff.records import PUBLIC_HUB, ModelId, Neuron, SubnetTerms, SubnetView

DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A hotkey that competes, or that receives burned weight. Daily amounts: its incentive at ``Worth``.
    ``rank`` is None for burn. ``commitment`` is untrusted text. ``problem``: why it does not count.
    """

    rank: int | None
    uid: int
    hotkey: str
    burn: bool
    commitment: str | None
    repo: str | None  # the dataset's, if the commitment names one
    url: str | None  # of exactly what was committed
    block: int | None  # of the commitment's last update
    counts_from: int | None  # first block of the first epoch in which it counts
    problem: str | None
    incentive: float
    consensus: float
    alpha_per_day: float
    tao_per_day: float
    weights: Mapping[int, float]  # by validator's uid


@dataclass(frozen=True, slots=True)
class ValidatorStanding:
    """A hotkey with a permit, or with weights on chain.

    ``cosine`` and ``overlap`` (the sum of the smaller of two weights) compare its weights with the mean of
    all other validators', by stake: 1 is equal, 0 nothing in common; None if there is nothing to compare.
    """

    uid: int
    hotkey: str
    owner: bool
    stake: float
    permit: bool
    counts: bool  # the chain would accept its weights now
    last_weights: int | None  # block; None: none are on chain
    age_blocks: int | None
    stale: bool  # too old for the chain to count
    trust: float
    dividends: float
    alpha_per_day: float  # at the last epoch's rate; shared with its stakers
    targets: int  # uids with weight
    burned: float  # fraction of its weights
    cosine: float | None
    overlap: float | None


@dataclass(frozen=True, slots=True)
class Worth:
    """The daily worth of one percent of the miners' incentive, at the current price and emission.

    alpha = 1 % x alpha_per_block x (1 - owner_cut) / 2 x blocks_per_day; TAO at the pool's price, ignoring
    slippage.
    """

    blocks_per_day: float
    miners_alpha_per_day: float
    percent_alpha_per_day: float
    percent_tao_per_day: float
    burned: float  # fraction of the incentive


@dataclass(frozen=True, slots=True)
class Standings:
    netuid: int
    block: int
    made_at: float  # UTC seconds
    epoch_start: int
    next_epoch: int
    blocks_left: int
    seconds_left: float
    terms: SubnetTerms
    worth: Worth
    miners: tuple[Standing, ...]  # by incentive, then consensus, then the validators' weights; burn last
    validators: tuple[ValidatorStanding, ...]  # by stake

    @property
    def queue(self) -> tuple[Standing, ...]:
        """Hotkeys whose commitments count, now or from the next epoch on, in order of commitment."""
        counting = [each for each in self.miners if each.counts_from is not None]
        return tuple(sorted(counting, key=lambda each: (each.block or 0, each.uid)))


def standings(view: SubnetView, competition_id: str) -> Standings:
    """The subnet in ``view``. Only commitments for ``competition_id`` count."""
    worth = _worth(view)
    counting = _counting(view, competition_id)
    burned = burned_uids(view)
    found = [_standing(neuron, view, worth, counting, neuron.uid in burned) for neuron in _shown(view)]
    found.sort(key=lambda each: (each.burn, -each.incentive, -each.consensus, -_all(each), each.uid))
    return Standings(
        netuid=view.snapshot.netuid,
        block=view.snapshot.block,
        made_at=view.made_at,
        epoch_start=view.epoch.start_block,
        next_epoch=view.epoch.next_start_block,
        blocks_left=view.epoch.blocks_left,
        seconds_left=view.epoch.blocks_left * view.epoch.seconds_per_block,
        terms=view.terms,
        worth=worth,
        miners=tuple(
            each if each.burn else replace(each, rank=place) for place, each in enumerate(found, start=1)
        ),
        validators=_validators(view, worth),
    )


def burned_uids(view: SubnetView) -> frozenset[int]:
    """The uids whose incentive the chain does not pay out."""
    snapshot = view.snapshot
    return frozenset(
        neuron.uid
        for neuron in snapshot.neurons
        if neuron.hotkey == snapshot.owner_hotkey or neuron.coldkey == snapshot.owner_coldkey
    )


def _all(standing: Standing) -> float:
    return sum(standing.weights.values())


def _worth(view: SubnetView) -> Worth:
    seconds, terms = view.epoch.seconds_per_block, view.terms
    blocks = DAY_SECONDS / seconds if seconds > 0 else 0.0
    pool = terms.alpha_per_block * (1 - terms.owner_cut) / 2 * blocks
    burned = burned_uids(view)
    incentive = {neuron.uid: neuron.incentive for neuron in view.snapshot.neurons}
    total = sum(incentive.values())
    return Worth(
        blocks_per_day=blocks,
        miners_alpha_per_day=pool,
        percent_alpha_per_day=pool / 100,
        percent_tao_per_day=pool / 100 * terms.alpha_price,
        burned=sum(incentive[uid] for uid in burned) / total if total else 0.0,
    )


def _due_per_day(uid: int, view: SubnetView, worth: Worth) -> float:
    tempo = view.terms.tempo
    return view.emission.get(uid, 0.0) * worth.blocks_per_day / tempo if tempo else 0.0


def _shown(view: SubnetView) -> list[Neuron]:
    """Hotkeys with a commitment, weight or incentive."""
    targets = {uid for row in view.weights.values() for uid in row}
    return [
        neuron
        for neuron in view.snapshot.neurons
        if neuron.hotkey in view.snapshot.commitments or neuron.incentive > 0 or neuron.uid in targets
    ]


def _standing(neuron: Neuron, view: SubnetView, worth: Worth, counting: "_Counting", burn: bool) -> Standing:
    raw = view.snapshot.commitments.get(neuron.hotkey)
    model_id = _model_id(raw.text) if raw else None
    alpha = 0.0 if burn else 100 * neuron.incentive * worth.percent_alpha_per_day
    return Standing(
        rank=None,
        uid=neuron.uid,
        hotkey=neuron.hotkey,
        burn=burn,
        commitment=raw.text if raw else None,
        repo=model_id.namespace if model_id else None,
        url=f"{PUBLIC_HUB}/datasets/{model_id.namespace}/tree/{model_id.commit}" if model_id else None,
        block=raw.block if raw else None,
        counts_from=counting.since.get(neuron.hotkey),
        problem=counting.problems.get(neuron.hotkey) if raw else None,
        incentive=neuron.incentive,
        consensus=neuron.consensus,
        alpha_per_day=alpha,
        tao_per_day=alpha * view.terms.alpha_price,
        weights={uid: row[neuron.uid] for uid, row in sorted(view.weights.items()) if neuron.uid in row},
    )


def _model_id(text: str) -> ModelId | None:
    try:
        return ModelId.parse(text)
    except MinerFault:
        return None


@dataclass(frozen=True, slots=True)
class _Counting:
    """By hotkey: the block from which its commitment counts, or else why it does not."""

    since: Mapping[str, int]
    problems: Mapping[str, str]


def _counting(view: SubnetView, competition_id: str) -> _Counting:
    """As seen, once the next epoch begins, by validators that know no earlier commitments."""
    epoch, snapshot = view.epoch, view.snapshot
    coming = max(epoch.next_start_block, snapshot.block + 1)
    entries = enter_without_memory(snapshot, coming, competition_id)
    since = {
        each.hotkey: epoch.start_block if each.block < epoch.start_block else coming
        for each in entries.counting
    }
    problems = {verdict.hotkey: verdict.detail for verdict in entries.verdicts}
    for hotkey, raw in snapshot.commitments.items():
        if hotkey not in since and hotkey not in problems and (model_id := _model_id(raw.text)):
            problems[hotkey] = f"It is for competition {model_id.competition_id}, not {competition_id}."
    return _Counting(since, problems)


# --- validators ------------------------------------------------------------------------------------------


def _validators(view: SubnetView, worth: Worth) -> tuple[ValidatorStanding, ...]:
    snapshot, burned = view.snapshot, burned_uids(view)
    cutoff = view.terms.activity_cutoff
    agreement = _agreement(view)
    found = []
    for neuron in snapshot.neurons:
        row = view.weights.get(neuron.uid, {})
        if not row and not neuron.validator_permit:
            continue
        age = snapshot.block - neuron.last_update if row else None
        cosine, overlap = agreement.get(neuron.uid, (None, None))
        found.append(
            ValidatorStanding(
                uid=neuron.uid,
                hotkey=neuron.hotkey,
                owner=neuron.hotkey == snapshot.owner_hotkey,
                stake=neuron.stake,
                permit=neuron.validator_permit,
                counts=snapshot.counts(neuron.hotkey),
                last_weights=neuron.last_update if row else None,
                age_blocks=age,
                stale=age is not None and age > cutoff,
                trust=view.trust.get(neuron.uid, 0.0),
                dividends=neuron.dividends,
                alpha_per_day=_due_per_day(neuron.uid, view, worth),
                targets=len(row),
                burned=sum(weight for uid, weight in row.items() if uid in burned),
                cosine=cosine,
                overlap=overlap,
            )
        )
    return tuple(sorted(found, key=lambda each: (-each.stake, each.uid)))


def _agreement(view: SubnetView) -> dict[int, tuple[float, float]]:
    """By validator's uid: cosine and overlap of its weights with the others' stake-weighted mean."""
    size = max((neuron.uid for neuron in view.snapshot.neurons), default=-1) + 1
    stakes = {neuron.uid: neuron.stake for neuron in view.snapshot.neurons}
    uids = [uid for uid in view.weights if stakes.get(uid, 0.0) > 0]
    rows = np.zeros((len(uids), size))
    for place, uid in enumerate(uids):
        for target, weight in view.weights[uid].items():
            if target < size:
                rows[place, target] = weight
    weighted = rows * np.array([[stakes[uid]] for uid in uids]).reshape(-1, 1)
    whole = weighted.sum(axis=0)
    found = {}
    for place, uid in enumerate(uids):
        others = np.maximum(whole - weighted[place], 0.0)
        total, length = others.sum(), np.linalg.norm(rows[place]) * np.linalg.norm(others)
        if len(uids) > 1 and total > 0 and length > 0:
            cosine = float(rows[place] @ others / length)
            found[uid] = (min(1.0, cosine), float(np.minimum(rows[place], others / total).sum()))
    return found


def remarks(each: ValidatorStanding) -> list[str]:
    """Remarks on a validator beside its numbers."""
    said = ["the owner's"] if each.owner else []
    if not each.permit:
        said.append("no permit")
    elif not each.counts:
        said.append("too little stake")
    if each.stale:
        said.append("too old to count")
    return said
