"""Who is evaluated in an epoch: from the snapshot's commitments to the places of the queue."""

from dataclasses import replace

from flockoff.errors import MinerFault, Reason
from flockoff.ledger import Ledger
from flockoff.metrics import QUEUE_AGE
from flockoff.records import Commitment, Epoch, ModelId, SubnetSnapshot, Verdict
from flockoff.scoring import Candidate, plan_epoch
from flockoff.validate.setting import Validator


def read_commitments(
    snapshot: SubnetSnapshot, epoch: Epoch, competition_id: str, ledger: Ledger
) -> tuple[list[Commitment], dict[str, MinerFault]]:
    """The commitments that count in this epoch, and what is wrong with the others, by hotkey.

    What was committed before the epoch's start counts. A hotkey that committed since then, whatever it
    committed, counts with what the ledger saw before: committing anew must not let anyone skip a turn.
    """
    seen: list[Commitment] = []
    faults: dict[str, MinerFault] = {}
    counting: list[Commitment] = []
    for neuron in snapshot.neurons:
        raw = snapshot.commitments.get(neuron.hotkey)
        if raw is None:
            continue
        if raw.block >= epoch.start_block:
            earlier = ledger.commitment_before(neuron.hotkey, epoch.start_block)
            if earlier is not None:
                counting.append(replace(earlier, uid=neuron.uid))
        try:
            model_id = ModelId.parse(raw.text)
        except MinerFault as fault:
            faults[neuron.hotkey] = fault
            continue
        if model_id.competition_id == competition_id:
            seen.append(Commitment(neuron.hotkey, neuron.uid, model_id, raw.block))
    ledger.record_commitments(seen)
    counting += [commitment for commitment in seen if commitment.block < epoch.start_block]
    return [
        replace(commitment, block=ledger.first_block(commitment.hotkey, commitment.model_id))
        for commitment in counting
    ], faults


def plan_places(commitments: list[Commitment], validator: Validator, epoch: Epoch) -> list[Commitment]:
    """The epoch's queue: at most ``miner_sample_size`` of the commitments, first place first."""
    scores = validator.ledger.scores()
    evaluated = validator.ledger.last_evaluated()
    by_hotkey = {commitment.hotkey: commitment for commitment in commitments}
    candidates = [
        Candidate(
            hotkey=commitment.hotkey,
            score=scores.get(commitment.hotkey, 0.0),
            first_block=validator.ledger.hotkey_first_block(commitment.hotkey),
            last_evaluated=evaluated.get(commitment.hotkey),
        )
        for commitment in commitments
    ]
    since = [each.first_block if each.last_evaluated is None else each.last_evaluated for each in candidates]
    QUEUE_AGE.set(epoch.start_block - min(since, default=epoch.start_block))
    plan = plan_epoch(candidates, validator.queue, epoch.seed)
    # Who could not be evaluated the last time, for instance for want of time, comes after all others: one
    # dataset too slow for this machine must not keep the others from their places.
    return [
        by_hotkey[hotkey]
        for hotkey in sorted(plan, key=lambda hotkey: _failed_before(hotkey, validator, epoch))
    ]


def _failed_before(hotkey: str, validator: Validator, epoch: Epoch) -> bool:
    last = validator.ledger.last_verdict(hotkey, before=epoch.start_block)
    return last is not None and last.standing == "not_evaluated"


def withdrawn(
    snapshot: SubnetSnapshot,
    counting: list[Commitment],
    faults: dict[str, MinerFault],
    epoch: Epoch,
    ledger: Ledger,
) -> list[Verdict]:
    """Verdicts on malformed commitments, and on hotkeys that hold a score but show nothing to evaluate.

    Without the latter a miner could earn a score once, take its commitment back, and keep the score for ever.
    """
    counted = {commitment.hotkey for commitment in counting}
    scored = {hotkey for hotkey, score in ledger.scores().items() if score > 0}
    verdicts = []
    for neuron in snapshot.neurons:
        raw = snapshot.commitments.get(neuron.hotkey)
        fault = faults.get(neuron.hotkey)
        if fault is None and neuron.hotkey in scored:
            fault = MinerFault(
                Reason.COMMITMENT_MISSING,
                "The chain shows no commitment of this hotkey for this competition.",
            )
        if fault is None or neuron.hotkey in counted:
            continue
        verdicts.append(
            Verdict(
                epoch=epoch.start_block,
                hotkey=neuron.hotkey,
                uid=neuron.uid,
                model_id=raw.text if raw else "",
                block=raw.block if raw else 0,
                standing="at_fault",
                reason=fault.reason,
                detail=str(fault),
            )
        )
    return verdicts
