import pytest

from flockoff.dataset.words import words_of


def test_words_of_dress_makes_no_difference() -> None:
    assert words_of("The TIDE\u00a0-- tu\u00adrns!") == words_of("the tide turns")


def test_words_of_what_is_written_without_spaces_are_its_letters() -> None:
    assert words_of("\u6f6e\u6c50 tide") == ["\u6f6e", "\u6c50", "tide"]


@pytest.mark.slow
def test_words_of_long_run_of_combining_marks_takes_no_quadratic_time() -> None:
    # In one piece this takes Python's normalisation a minute.
    assert words_of("a" + "\u0301\u0316" * 130_000) == ["\u00e1"]
