import pytest

from flockoff.scoring import update_scores

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
    with pytest.raises(ValueError, match="at once"):
        update_scores({}, {"a": 1.0}, ["a"], ["a"], DECAY)
