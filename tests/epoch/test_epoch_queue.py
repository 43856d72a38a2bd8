"""Who has a place, in which order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flockoff.competition import Competition, Queue
from flockoff.epoch.blame import blamed, eligible, is_too_slow
from flockoff.epoch.memory import Memory
from flockoff.epoch.queue import candidates, epochs_to_wait, form_queue
from flockoff.epoch.settle import Evidence, remember, settle
from flockoff.errors import EvaluationStopped, EvaluationTooSlow, FaultKind
from flockoff.records import Commitment, Epoch, Verdict
from flockoff.scoring import plan_epoch
from tests.support.examples import examples
from tests.support.subnets import model_id

EPOCH = Epoch(3600, 3960, seed=11)
NOT_EVALUATED = Verdict(3240, "", 0, "", 1, "not_evaluated", None, "")


def committed(count: int) -> list[Commitment]:
    return [Commitment(f"hotkey {n:02}", n, model_id(str(n)), 100 + n) for n in range(count)]


def test_form_queue_is_the_plan_of_the_scoring_room() -> None:
    counting = committed(50)
    memory = Memory(scores={"hotkey 03": 0.5}, last_evaluated={"hotkey 03": 3240, "hotkey 04": 2880})
    queue = form_queue(counting, memory, Queue(), EPOCH)
    found = candidates({each.hotkey: each.block for each in counting}, memory)
    assert [each.hotkey for each in queue.places] == plan_epoch(found, Queue(), EPOCH.seed)
    assert queue.age == 3600 - 100


def test_memory_counts_what_was_measured_in_its_latest_epoch() -> None:
    verdicts = {
        "a": replace(NOT_EVALUATED, standing="eligible", epoch=2880),
        "b": replace(NOT_EVALUATED, standing="eligible", epoch=2880),
        "c": replace(NOT_EVALUATED, standing="eligible"),
        "d": NOT_EVALUATED,
    }
    assert Memory(last_verdicts=verdicts).measured == 1
    assert Memory().measured == 0


def test_candidates_first_block_is_the_lowest_known() -> None:
    blocks = {"a": 5, "b": 9}
    found = candidates(blocks, Memory(first_blocks={"a": 9, "b": 5}))
    assert [each.first_block for each in found] == [5, 5]


def test_form_queue_age_is_since_the_last_turn() -> None:
    memory = Memory(last_evaluated={"hotkey 00": 3240, "hotkey 01": 2880})
    assert form_queue(committed(2), memory, Queue(), EPOCH).age == 3600 - 2880


def test_form_queue_hurries_nobody_who_was_measured() -> None:
    memory, epoch = Memory(scores={"hotkey 07": 0.1}), replace(EPOCH, seed=14)
    order = form_queue(committed(20), memory, Queue(), epoch).places
    assert order[2].hotkey == "hotkey 07"
    fine = {"hotkey 07": replace(NOT_EVALUATED, hotkey="hotkey 07", standing="eligible")}
    assert form_queue(committed(20), replace(memory, last_verdicts=fine), Queue(), epoch).places == order


def test_form_queue_puts_last_what_the_worker_failed_on_and_only_that() -> None:
    counting = committed(6)
    order = [each.hotkey for each in form_queue(counting, Memory(), Queue(), EPOCH).places]
    kinds = [FaultKind.EVALUATION, FaultKind.STOPPED, FaultKind.HUB_TRANSIENT, FaultKind.TOO_SLOW]
    memory = Memory(
        last_verdicts={
            hotkey: replace(NOT_EVALUATED, hotkey=hotkey, fault=kind)
            for hotkey, kind in zip(order, kinds, strict=False)
        }
    )
    places = [each.hotkey for each in form_queue(counting, memory, Queue(), EPOCH).places]
    assert places == [*order[1:3], *order[4:], order[0], order[3]]


@pytest.mark.parametrize(("measured", "place"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (9, 2)])
def test_form_queue_leaves_most_of_an_epoch_for_what_was_cut_off(measured: int, place: int) -> None:
    counting = committed(20)
    order = [each.hotkey for each in form_queue(counting, Memory(), Queue(), EPOCH).places]
    verdicts = {hotkey: replace(NOT_EVALUATED, hotkey=hotkey) for hotkey in order[:15]}
    for hotkey in order[:measured]:
        verdicts[hotkey] = replace(verdicts[hotkey], standing="eligible")
    verdicts[order[-1]] = replace(NOT_EVALUATED, hotkey=order[-1], fault=FaultKind.STOPPED)
    places = [
        each.hotkey for each in form_queue(counting, Memory(last_verdicts=verdicts), Queue(), EPOCH).places
    ]
    assert places == [*order[:place], order[-1], *order[place:-1]]


def test_form_queue_tries_what_failed_again_soon_after_its_pause_if_it_has_a_score() -> None:
    counting = committed(20)
    order = [each.hotkey for each in form_queue(counting, Memory(), Queue(), EPOCH).places]
    with_score, without = order[-1], order[-2]
    verdicts = {
        hotkey: replace(NOT_EVALUATED, hotkey=hotkey, fault=FaultKind.TOO_SLOW)
        for hotkey in (with_score, without)
    }
    memory = Memory(last_verdicts=verdicts, scores={with_score: 0.001}, missed=dict.fromkeys(verdicts, 1))
    for seed in range(11, 17):  # some of which would put it elsewhere
        paused, tried = (
            [
                each.hotkey
                for each in form_queue(counting, memory, Queue(), Epoch(start, start + 360, seed)).places
            ]
            for start in (3600, 3960)
        )
        assert {*paused[-2:]} == {with_score, without}
        assert tried[0] == with_score and tried[1] != without


@pytest.mark.slow
@settings(max_examples=examples(20))
@given(
    costs=st.lists(st.floats(0.02, 1.0), min_size=11, max_size=11),
    needed=st.floats(0.3, 5.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_nothing_is_cut_off_in_more_than_three_epochs_in_a_row(
    costs: list[float], needed: float, seed: int
) -> None:
    """Whatever share of a validator's epoch each dataset takes, and one of them more than there may be."""
    rules, counting = Competition(), committed(12)
    takes = {each.hotkey: share for each, share in zip(counting, [*costs, needed], strict=True)}
    memory, cut_off, endless = Memory(), dict.fromkeys(takes, 0), []
    for number in range(1, 25):
        epoch = Epoch(number * 360, (number + 1) * 360, seed + number)
        verdicts = judged(epoch, form_queue(counting, memory, rules.queue, epoch).places, takes, rules)
        for verdict in verdicts:
            cut_off[verdict.hotkey] += 1
            if verdict.fault is not FaultKind.STOPPED:
                cut_off[verdict.hotkey] = 0
                endless += [verdict] if verdict.hotkey == "hotkey 11" else []
        assert max(cut_off.values()) <= 3
        settlement = settle(epoch.start_block, verdicts, memory, dict.fromkeys(takes, ""), rules, Evidence())
        memory = remember(memory, settlement)
    assert endless  # whatever the others take, its turn has come


def judged(
    epoch: Epoch, places: Sequence[Commitment], takes: Mapping[str, float], rules: Competition
) -> list[Verdict]:
    """By one worker. ``takes``: by hotkey, the share of an epoch's time that its dataset needs."""
    verdicts, left = [], 1.0
    for each in places:
        if takes[each.hotkey] <= left:
            left -= takes[each.hotkey]
            verdicts.append(eligible(epoch, each, each.hotkey, 2.0 + 0.001 * each.uid, block=each.block))
            continue
        slow = is_too_slow(left, 1.0, rules.queue)
        fault = EvaluationTooSlow("slow") if slow else EvaluationStopped("over")
        verdicts.append(blamed(epoch, each, fault, content_hash=None, last=None, final=True))
        break
    return verdicts


@pytest.mark.parametrize(("missed", "epochs"), [(0, 1), (1, 1), (2, 3), (3, 7), (4, 15)])
def test_form_queue_puts_a_failed_dataset_last_for_longer_each_time(missed: int, epochs: int) -> None:
    counting = committed(6)
    first = form_queue(counting, Memory(), Queue(), EPOCH).places[0].hotkey
    memory = Memory(
        last_verdicts={first: replace(NOT_EVALUATED, hotkey=first, fault=FaultKind.TOO_SLOW)},
        missed={first: missed},
    )
    places = [
        form_queue(counting, memory, Queue(), Epoch(3240 + 360 * n, 3600 + 360 * n, seed=11)).places
        for n in range(1, 20)
    ]
    assert [each[-1].hotkey == first for each in places] == [n <= epochs for n in range(1, 20)]


def test_candidates_go_by_the_first_block_ever_seen() -> None:
    memory = Memory(first_blocks={"ann": 10}, scores={"ann": 0.25}, last_evaluated={"ann": 720})
    ann, bob = candidates({"ann": 500, "bob": 600}, memory)
    assert (ann.first_block, ann.score, ann.last_evaluated) == (10, 0.25, 720)
    assert (bob.first_block, bob.score, bob.last_evaluated) == (600, 0.0, None)


def test_epochs_to_wait_is_told_for_everybody() -> None:
    blocks = {each.hotkey: each.block for each in committed(40)}
    waits = epochs_to_wait(blocks, Memory(), Queue())
    assert waits.keys() == blocks.keys()
    assert sorted(waits.values()) == [1 + n // 8 for n in range(40)]


@pytest.mark.slow
def test_nobody_waits_over_one_and_a_half_rounds_of_a_validator_that_never_finishes_its_queue() -> None:
    """256 miners, and time for 8 or 9 of 32 places: the queue, the cut-off and the settlement as they are."""
    rules, counting = Competition(), committed(256)
    memory, coldkeys = Memory(), {each.hotkey: each.hotkey for each in counting}
    seen, waits = dict.fromkeys(coldkeys, 0), dict.fromkeys(coldkeys, 0)
    for number in range(1, 151):
        epoch = Epoch(number * 360, (number + 1) * 360, seed=number)
        verdicts = []
        for place, each in enumerate(form_queue(counting, memory, rules.queue, epoch).places):
            if place < 8 + number % 2:
                loss = 2.0 + 0.001 * each.uid
                verdicts.append(eligible(epoch, each, each.hotkey, loss, block=each.block))
                waits[each.hotkey] = max(waits[each.hotkey], number - seen[each.hotkey])
                seen[each.hotkey] = number
            elif place == 8 + number % 2:  # the only one in evaluation then
                cut_off = EvaluationStopped("over")
                verdicts.append(blamed(epoch, each, cut_off, content_hash=None, last=None, final=True))
        settlement = settle(epoch.start_block, verdicts, memory, coldkeys, rules, Evidence())
        memory = remember(memory, settlement)
    unseen = {hotkey: 150 - last for hotkey, last in seen.items()}
    assert max(*waits.values(), *unseen.values()) <= 1.5 * 256 / 8.5
