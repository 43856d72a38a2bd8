import math
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flockoff.competition import Queue
from flockoff.scoring import Candidate, eval_queue, longest_wait, plan_epoch
from flockoff.scoring.eval_queue import CREDIT, assign_places, due_blocks
from tests.support.examples import examples

RULES = Queue()

candidate_lists = st.lists(
    st.builds(
        Candidate,
        hotkey=st.text("abcdef", min_size=1, max_size=4),
        score=st.sampled_from([0.0, 0.1, 0.2, 0.9]),
        first_block=st.integers(0, 3),
        last_evaluated=st.none() | st.integers(0, 3),
        tokens=st.none() | st.sampled_from([1_000, 2_560_000, 5_120_000]),
    ),
    max_size=60,
    unique_by=lambda candidate: candidate.hotkey,
)
seeds = st.integers(0, 2**32 - 1)


def places_of(candidates: Iterable[Candidate], rules: Queue, seed: int) -> list[str]:
    """The best, then the waiting, then the drawn."""
    places = assign_places(candidates, rules, seed)
    return [*places.best, *places.waiting, *places.drawn]


@pytest.mark.parametrize("seed", range(12))
def test_plan_any_beginning_is_two_thirds_waiting_and_a_fair_sample_of_the_others(seed: int) -> None:
    candidates = crowd(100, scored=50)
    plan, places = plan_epoch(candidates, RULES, seed), assign_places(candidates, RULES, seed)
    assert sorted(plan) == sorted([*places.best, *places.drawn, *places.waiting])
    for m in range(1, 33):
        assert len(set(plan[:m]) & set(places.waiting)) >= min(8, 2 * m // 3)
    others = [hotkey for hotkey in plan if hotkey not in places.waiting]
    for start in range(0, 24, 3):
        assert len(set(others[start : start + 3]) & set(places.best)) == 1
    for group in (places.best, places.drawn, places.waiting):
        assert [hotkey for hotkey in plan if hotkey in group] == list(group)


@pytest.mark.parametrize("m", [1, 2, 4, 9])
def test_plan_each_group_has_its_share_of_the_first_places_however_few_there_are(m: int) -> None:
    candidates = crowd(100, scored=50)
    found = Counter[str]()
    for seed in range(600):
        places = assign_places(candidates, RULES, seed)
        first = set(plan_epoch(candidates, RULES, seed)[:m])
        for name, group in (("best", places.best), ("waiting", places.waiting), ("drawn", places.drawn)):
            found[name] += len(first & set(group))
    expected = {"waiting": m * 2 / 3, "drawn": m * 2 / 9, "best": m / 9}
    for name, share in expected.items():
        assert found[name] / 600 == pytest.approx(share, abs=0.08)


def crowd(n: int, *, scored: int = 0) -> list[Candidate]:
    """``n`` never evaluated candidates; the first ``scored`` of them have scores, the first the highest."""
    return [Candidate(f"h{i:03}", max(0.0, (scored - i) / n), 1000 + i, None) for i in range(n)]


@given(candidate_lists, seeds, st.randoms())
def test_plan_depends_on_candidates_and_seed_alone(
    candidates: list[Candidate], seed: int, shuffler: random.Random
) -> None:
    plan = places_of(candidates, RULES, seed)
    shuffler.shuffle(candidates)
    assert places_of(candidates, RULES, seed) == plan
    assert len(plan) == len(set(plan)) == min(len(candidates), RULES.size)


def test_plan_other_seed_draws_others_only() -> None:
    candidates = crowd(200, scored=20)
    one, other = places_of(candidates, RULES, 1), places_of(candidates, RULES, 2)
    assert one[:16] == other[:16]
    assert one[16:] != other[16:]


def test_plan_known_seed_is_as_recorded() -> None:
    rules = Queue(best=2, drawn=4, waiting=2, rank_scale=4.0)
    plan = places_of([replace(each, last_evaluated=0) for each in crowd(16, scored=16)], rules, 3823750022)
    assert plan == ["h000", "h001", "h002", "h003", "h005", "h004", "h007", "h006"]


@given(seeds, st.integers(2, 200))
def test_plan_hotkey_that_rises_from_last_to_first_changes_the_draw_by_one_at_most(seed: int, n: int) -> None:
    rules = Queue(best=0, drawn=16, waiting=1)
    *others, last = crowd(n, scored=n)
    drawn = set(assign_places([*others, last], rules, seed).drawn)
    after = set(assign_places([*others, replace(last, score=2.0)], rules, seed).drawn)
    assert len(after - drawn) <= 1


def test_plan_best_are_the_highest_scores_in_order() -> None:
    assert places_of(crowd(100, scored=50), RULES, 0)[:8] == [f"h{i:03}" for i in range(8)]


def test_plan_places_without_a_score_for_them_go_to_the_waiting() -> None:
    # Three have scores; the 5 places left of the best are added to the 8 of the waiting.
    plan = places_of(crowd(100, scored=3), RULES, 0)
    assert plan[: 3 + 13] == [f"h{i:03}" for i in range(3 + 13)]
    assert len(plan) == RULES.size


@pytest.mark.parametrize(
    ("n", "scored", "sizes"),
    [(100, 50, (8, 8, 16)), (100, 3, (3, 13, 16)), (28, 8, (8, 12, 8)), (9, 2, (2, 7, 0))],
)
def test_assign_best_have_scores_and_the_waiting_fill_what_others_leave(
    n: int, scored: int, sizes: tuple[int, int, int]
) -> None:
    places = assign_places(crowd(n, scored=scored), RULES, 0)
    assert (len(places.best), len(places.waiting), len(places.drawn)) == sizes
    assert places.best == tuple(f"h{i:03}" for i in range(sizes[0]))


def test_assign_of_the_best_who_is_longest_due_comes_first() -> None:
    candidates = [Candidate("recent", 0.9, 1, 720), Candidate("long ago", 0.5, 1, 0)]
    assert assign_places(candidates, Queue(best=2, drawn=0, waiting=1), 0).best == ("long ago", "recent")


def test_due_newcomers_credit_is_in_rounds_of_what_all_cost_where_that_is_more() -> None:
    tokens = 10 * RULES.epoch_tokens  # so that two take twenty epochs, and as many places a quarter of one
    due = due_blocks([Candidate(name, 0.0, 50_000, None, tokens) for name in "ab"], RULES)
    lap = RULES.epoch_blocks * 2 * (10 + 1 / RULES.size)
    assert due == pytest.approx(dict.fromkeys("ab", 50_000 - CREDIT * lap + lap))


def test_longest_wait_counts_nobody_ahead_more_than_once_an_epoch() -> None:
    rules = Queue(best=0, drawn=0, waiting=2)
    often, seldom = Candidate("often", 0.0, 1, 0, 0), Candidate("seldom", 0.0, 1, 0, 20 * rules.epoch_tokens)
    assert longest_wait([often, seldom], "seldom", rules) == 1


@pytest.mark.parametrize("byte", [b"\0", b"\xff"])
def test_plan_luck_has_a_logarithm_whatever_the_hash(byte: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Extreme:
        def digest(self) -> bytes:
            return 8 * byte

    monkeypatch.setattr(eval_queue, "blake2b", lambda *_, **__: Extreme())
    assert 0 < eval_queue._uniform(0, "x") < 1


def test_plan_waiting_are_never_evaluated_then_longest_ago() -> None:
    rules = Queue(best=0, drawn=0, waiting=5)
    candidates = [
        Candidate("recent", 0.0, 1, 700),
        Candidate("long ago", 0.0, 9, 300),
        Candidate("new", 0.0, 500, None),
        Candidate("newer", 0.0, 600, None),
        Candidate("tie, later commit", 0.0, 20, 300),
        Candidate("tie, same commit", 0.0, 9, 300),
        Candidate("evaluated in block 0", 0.0, 50, 0),
    ]
    assert places_of(candidates, rules, 0) == [
        "new",
        "newer",
        "evaluated in block 0",
        "long ago",
        "tie, same commit",
    ]


def test_plan_ties_of_score_go_to_the_earlier_commit_then_the_lower_hotkey() -> None:
    candidates = [Candidate("c", 0.5, 7, 1), Candidate("b", 0.5, 8, 1), Candidate("a", 0.5, 8, 1)]
    assert places_of(candidates, Queue(best=2, drawn=0, waiting=1), 0) == ["c", "a", "b"]


def test_plan_fewer_than_the_places_takes_all() -> None:
    assert sorted(places_of(crowd(31, scored=4), RULES, 5)) == [c.hotkey for c in crowd(31)]
    assert places_of([], RULES, 5) == []


@pytest.mark.slow
def test_plan_draw_follows_its_probabilities() -> None:
    # One waits. Ranks 0, 1, 2 of the others have weights 1, e^-1, e^-2, the last half of that because it
    # costs twice as much: 30 tokens, and 10 for the place. Two are drawn, the second among those left.
    rules = Queue(best=0, drawn=2, waiting=1, rank_scale=1.0, epoch_tokens=30)
    others = [replace(each, tokens=10, last_evaluated=9) for each in crowd(3)]
    candidates = [*others[:2], replace(others[2], tokens=30), Candidate("waiting", -1.0, 0, 0, 0)]
    draws = 6000
    found = Counter(assign_places(candidates, rules, seed).drawn for seed in range(draws))
    weight = [1.0, math.exp(-1), math.exp(-2) / 2]
    for first in range(3):
        for second in {0, 1, 2} - {first}:
            expected = weight[first] / sum(weight) * weight[second] / (sum(weight) - weight[first])
            share = found[f"h{first:03}", f"h{second:03}"] / draws
            assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / draws))


def test_plan_draws_who_was_never_evaluated_like_the_first_rank() -> None:
    rules = Queue(best=0, drawn=2, waiting=1, rank_scale=1e-3)  # the next rank is as good as never drawn
    waits = Candidate("waits", -1.0, 0, 0)
    others = [replace(each, last_evaluated=9) for each in crowd(5, scored=5)]
    late = Candidate("never evaluated", 0.0, 9_000_000, None)
    drawn = [assign_places([waits, *others, late], rules, seed).drawn for seed in range(40)]
    assert {*drawn} == {("h000", "never evaluated"), ("never evaluated", "h000")}


def test_plan_of_a_new_subnet_nearly_all_are_evaluated_before_others_are_drawn_again() -> None:
    """Not only the 8 who wait longest have their first turn, but most of the 16 drawn too."""
    line = {each.hotkey: each for each in crowd(256)}
    for epoch in range(1, 13):
        for place, hotkey in enumerate(places_of(line.values(), RULES, epoch)):
            line[hotkey] = replace(line[hotkey], score=1 / (2 + place), last_evaluated=360 * epoch)
    assert sum(each.last_evaluated is None for each in line.values()) <= 16


@pytest.mark.parametrize("bad", [Candidate("h000", 0.1, 1, None), Candidate("x", math.nan, 1, None)])
def test_plan_hotkey_twice_or_no_number_is_refused(bad: Candidate) -> None:
    with pytest.raises(ValueError, match=r"twice|finite"):
        places_of([*crowd(3), bad], RULES, 0)


def test_longest_wait_of_no_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="x is no candidate"):
        longest_wait(crowd(3), "x", RULES)


@settings(max_examples=examples(12))
@given(
    start=st.integers(1, 150),
    newcomers=st.integers(0, 7),
    leaving=st.integers(0, 3),
    luck=st.integers(0, 2**32),
)
def test_plan_nobody_waits_longer_than_an_eighth_of_the_candidates(
    start: int, newcomers: int, leaving: int, luck: int
) -> None:
    """Whatever the scores, whoever comes and goes: the bound holds for each wait of each."""
    chance = random.Random(luck)
    last: dict[str, int | None] = {f"s{i:03}": None for i in range(start)}
    first = dict.fromkeys(last, 0)
    waited = Counter[str]()
    seen = {hotkey: set(last) for hotkey in last}  # all who were candidates during the present wait of each
    for epoch in range(40):
        candidates = [
            Candidate(hotkey, chance.choice([0.0, chance.random()]), first[hotkey], last[hotkey])
            for hotkey in last
        ]
        plan = set(places_of(candidates, RULES, epoch))
        for hotkey in list(last):
            seen[hotkey] |= last.keys()
            waited[hotkey] += 1
            if hotkey in plan:
                assert waited[hotkey] <= math.ceil(len(seen[hotkey]) / RULES.waiting)
                last[hotkey], waited[hotkey], seen[hotkey] = epoch, 0, set()
            else:
                assert waited[hotkey] < math.ceil(len(seen[hotkey]) / RULES.waiting)
        for hotkey in chance.sample(sorted(last), min(leaving, len(last) - 1)):
            del last[hotkey]
        for i in range(newcomers):
            hotkey = f"n{epoch:02}{i}"
            last[hotkey], first[hotkey], seen[hotkey] = None, epoch + 1, set()


def test_plan_newcomers_under_eight_an_epoch_are_evaluated_at_once() -> None:
    settled = [Candidate(f"s{i:03}", 1 / (i + 1), i, i) for i in range(200)]
    newcomers = [Candidate(f"n{i}", 0.0, 900 + i, None) for i in range(7)]
    assert {c.hotkey for c in newcomers} <= set(places_of([*settled, *newcomers], RULES, 3))


@settings(max_examples=examples(60))
@given(candidate_lists.filter(bool), st.randoms(use_true_random=False))
def test_longest_wait_is_kept_whatever_the_scores_become(
    candidates: list[Candidate], draw: random.Random
) -> None:
    rules, hotkey = Queue(best=2, drawn=1, waiting=3), draw.choice(candidates).hotkey
    wait = longest_wait(candidates, hotkey, rules)
    start = 1 + max(max(each.first_block, each.last_evaluated or 0) for each in candidates)
    for epoch in range(start, start + wait * rules.epoch_blocks, rules.epoch_blocks):
        places = places_of(candidates, rules, draw.getrandbits(32))
        if hotkey in places:
            return
        candidates = [
            replace(
                candidate,
                score=draw.choice([0.0, 0.1, 0.5, candidate.score]),
                last_evaluated=epoch if candidate.hotkey in places else candidate.last_evaluated,
            )
            for candidate in candidates
        ]
    raise AssertionError(f"{hotkey} had no place within {wait} epochs")


def test_longest_wait_counts_those_before_it_by_the_waiting_places() -> None:
    rules = Queue(best=1, drawn=0, waiting=2)
    line = [Candidate(name, 0.0, block, None) for block, name in enumerate("abcde")]
    leader = Candidate("z", 1.0, 0, 50)
    assert [longest_wait([leader, *line], name, rules) for name in "zabcde"] == [1, 1, 1, 2, 2, 3]


def test_due_blocks_twice_the_cost_comes_half_as_often() -> None:
    # Three of 10, 10 and 40 tokens, and 10 for a place: a round costs 90 of 30 an epoch.
    rules = Queue(best=0, drawn=2, waiting=1, epoch_tokens=30, epoch_blocks=100)
    candidates = [
        Candidate("small", 0.0, 7, 1000, 10),
        Candidate("new", 0.0, 2000, None, 10),
        Candidate("large", 0.0, 7, 1000, 40),
    ]
    assert due_blocks(candidates, rules) == {
        "small": 1000 + 100 * 20 * 3 / 30,
        "new": 2000 - CREDIT * 100 * 3 + 100 * 20 * 3 / 30,
        "large": 1000 + 100 * 50 * 3 / 30,
    }


def test_due_blocks_a_newcomers_credit_is_two_rounds_of_waiting_places_where_those_are_scarcer() -> None:
    # Three without tokens cost a place each, a third of an epoch: one epoch's tokens. Two wait: 1.5 epochs.
    rules = Queue(best=0, drawn=1, waiting=2, epoch_tokens=30, epoch_blocks=100)
    line = [Candidate(name, 0.0, 2000, None, 0) for name in "abc"]
    assert due_blocks(line, rules) == dict.fromkeys("abc", 2000 - 2 * 150 + 100)


def test_longest_wait_behind_one_who_is_due_again_and_again_is_an_epoch_too_long_at_most() -> None:
    rules = Queue(best=0, drawn=0, waiting=1, epoch_tokens=30, epoch_blocks=100)
    small, large = Candidate("small", 0.0, 0, 1000, 0), Candidate("large", 0.0, 0, 1000, 270)
    waited, start = 1, 1001
    while places_of([small, large], rules, 0) == ["small"]:
        small = replace(small, last_evaluated=start)
        waited, start = waited + 1, start + rules.epoch_blocks
    assert waited == 20
    assert longest_wait([replace(small, last_evaluated=1000), large], "large", rules) in (waited, waited + 1)


@dataclass
class Played:
    """Epochs of a validator that trains on at most ``capacity`` tokens in each, in the order of the plan."""

    candidates: dict[str, Candidate]
    capacity: float
    epoch: int = 0
    waits: Counter[str] = field(default_factory=Counter)  # the longest so far, epochs
    evaluated: Counter[str] = field(default_factory=Counter)

    def play(self, epochs: int, chance: random.Random) -> None:
        for _ in range(epochs):
            self.epoch += 1
            left, start = self.capacity, self.epoch * RULES.epoch_blocks
            for hotkey in plan_epoch(self.candidates.values(), RULES, chance.getrandbits(32)):
                candidate = self.candidates[hotkey]
                left -= candidate.tokens or RULES.first_guess
                if left < 0:
                    break
                self.evaluated[hotkey] += 1
                self.candidates[hotkey] = replace(
                    candidate, last_evaluated=start, score=chance.random() * candidate.score
                )
            for hotkey, candidate in self.candidates.items():
                since = candidate.last_evaluated
                waited = (start - (candidate.first_block if since is None else since)) / RULES.epoch_blocks
                self.waits[hotkey] = max(self.waits[hotkey], round(waited))


@pytest.mark.slow
def test_plan_a_small_newcomer_passes_two_hundred_large_sybils() -> None:
    """And nobody starves: each of the honest has its turn as often as its size allows."""
    chance = random.Random(2)
    sybils = {f"s{i:03}": Candidate(f"s{i:03}", 0.1, 0, None, 5_120_000) for i in range(200)}
    honest = {
        f"h{i:02}": Candidate(f"h{i:02}", 0.1, 0, None, chance.choice([256_000, 2_560_000, 5_120_000]))
        for i in range(55)
    }
    game = Played({**sybils, **honest}, capacity=8.5 * RULES.first_guess)
    game.play(80, chance)
    game.candidates["new"] = Candidate("new", 0.0, game.epoch * RULES.epoch_blocks, None, 256_000)
    game.play(4, chance)
    assert game.evaluated["new"] >= 1
    game.play(116, chance)
    fair = 1.5 * sum(each.tokens or 0 for each in game.candidates.values()) / game.capacity
    assert max(game.waits[hotkey] for hotkey in honest) <= fair
    small = [game.evaluated[hotkey] for hotkey, each in honest.items() if each.tokens == 256_000]
    large = [game.evaluated[hotkey] for hotkey in sybils]
    assert sum(small) / len(small) > 3 * sum(large) / len(large)


@pytest.mark.slow
def test_plan_tiny_datasets_do_not_crowd_out_the_others() -> None:
    """What each evaluation costs besides training counts too: 200 sybils of a few rows each change little."""
    tiny = {f"s{i:03}": Candidate(f"s{i:03}", 0.0, 0, None, 1_000) for i in range(200)}
    honest = {f"h{i:02}": Candidate(f"h{i:02}", 0.0, 0, None, 2_560_000) for i in range(56)}
    game = Played({**tiny, **honest}, capacity=8.5 * RULES.first_guess)
    game.play(150, random.Random(3))
    assert max(game.waits[hotkey] for hotkey in honest) <= 1.5 * 256 / RULES.waiting
