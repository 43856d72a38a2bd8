import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.scoring import count_missed, update_scores

DECAY = 0.8


def test_update_scores_every_case_is_as_computed_by_hand() -> None:
    updated = update_scores(
        {"eligible": 0.5, "fault": 0.5, "idle": 0.5, "gone": 0.5, "eligible but gone": 0.5},
        {"eligible": 0.25, "new": 0.75, "eligible but gone": 0.0},
        ["fault", "new fault", "fault and gone"],
        ["eligible", "fault", "idle", "new", "new fault", "without a score"],
        DECAY,
    )
    assert updated == pytest.approx(
        {
            "eligible": 0.45,  # 0.8 · 0.5 + 0.2 · 0.25
            "new": 0.15,  # 0.8 · 0 + 0.2 · 0.75
            "fault": 0.0,
            "new fault": 0.0,
            "idle": 0.5,
        }
    )


def test_update_scores_nothing_evaluated_changes_nothing() -> None:
    scores = {"a": 0.1, "b": 0.2}
    assert update_scores(scores, {}, [], ["a", "b", "c"], DECAY) == scores


def test_update_scores_leaves_its_arguments_alone() -> None:
    scores = {"a": 0.1}
    update_scores(scores, {"a": 1.0}, [], ["a"], DECAY)
    assert scores == {"a": 0.1}


def test_update_scores_coming_back_starts_from_nothing() -> None:
    away = update_scores({"a": 0.9}, {}, [], ["b"], DECAY)
    assert update_scores(away, {"a": 0.5}, [], ["a", "b"], DECAY) == pytest.approx({"a": 0.1})


def test_update_scores_eligible_and_at_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="both eligible"):
        update_scores({}, {"a": 1.0}, ["a"], ["a"], DECAY)


def test_scores_of_who_missed_three_turns_thaw_while_others_are_evaluated() -> None:
    scores = {"frozen": 0.5, "patient": 0.25, "other": 0.125}
    for missed, left in ((2, 0.5), (3, 0.4), (9, 0.4)):
        updated = update_scores(scores, {"other": 1.0}, [], scores, 0.8, missed={"frozen": missed})
        assert updated == pytest.approx({"frozen": left, "patient": 0.25, "other": 0.8 * 0.125 + 0.2})


def test_scores_thaw_in_no_epoch_without_an_evaluation() -> None:
    assert update_scores({"frozen": 0.5}, {}, [], ["frozen"], 0.8, missed={"frozen": 9}) == {"frozen": 0.5}


def test_scores_of_who_is_evaluated_after_all_do_not_thaw_too() -> None:
    updated = update_scores({"a": 0.5, "b": 0.5}, {"a": 1.0}, ["b"], "ab", 0.8, missed={"a": 3, "b": 3})
    assert updated == pytest.approx({"a": 0.6, "b": 0.0})


def test_scores_of_who_missed_nothing_stay_though_the_first_miss_thaws() -> None:
    updated = update_scores({"a": 0.5, "b": 0.5}, {"c": 1.0}, [], "abc", 0.8, missed={"b": 1}, thaw_after=1)
    assert updated == pytest.approx({"a": 0.5, "b": 0.4, "c": 0.2})


def test_missed_turns_count_in_a_row() -> None:
    assert count_missed({"a": 2, "b": 1, "c": 4}, ["a", "b", "d"], ["b", "e"]) == {"a": 3, "c": 4, "d": 1}
    assert count_missed({"a": 2}, ["a", "b"], []) == {"a": 3, "b": 1}


@given(st.lists(st.sampled_from(["own", "others", "outage"]), max_size=30))
def test_missed_turns_nobody_elses_outage_thaws_a_score(epochs: list[str]) -> None:
    missed: dict[str, int] = {}
    score = {"a": 1.0, "b": 0.0}
    failed = 0
    for epoch in epochs:
        tried = {"own": ["a", "b"], "others": ["b"], "outage": []}[epoch]
        evaluated = [] if epoch == "outage" else ["b"]
        missed = count_missed(missed, tried, evaluated)
        failed += epoch == "own"
        assert missed.get("a", 0) == failed
        score = update_scores(score, dict.fromkeys(evaluated, 1.0), [], score, 0.8, missed=missed)
        assert (score["a"] < 1) <= (failed >= 3)
