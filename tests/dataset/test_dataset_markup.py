"""Texts without markup, and without what joins or parts words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.dataset.markup import without_markup
from tests.support.dataset_texts import EXAMPLES

MARKED = st.text("abB1 '*-_~.,<>&;lt\\{\u2019\u00e9\u6f6e\u0661\U0001f600", max_size=40)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<b>ti</b>de and<br>moon", "tide andmoon"),
        (r"\textbf{tide} \emph{and} \bf moon", "{tide} {and}  moon"),
        ("tide&nbsp;and&#32;moon", "tide\u00a0and moon"),
        ("ti*de a**nd mo_on", "tide and moon"),
        ("ti***de a...nd", "ti***de a...nd"),
        ("TideAndMoon", "Tide And Moon"),
        ("tide-and\u2019moon\u2011too", "tide and moon too"),
        ("1.2 and 3-4, 5*6", "1.2 and 3-4, 5*6"),
        ("\u00e9\u00e9*\u00e9\u00e9 \u6f6e_\u6c50", "\u00e9\u00e9\u00e9\u00e9 \u6f6e\u6c50"),
        ("The tide turns twice a day, and that's the Moon's doing.",) * 2,
        ("", ""),
    ],
)
def test_without_markup_words_are_what_a_reader_sees(text: str, plain: str) -> None:
    assert without_markup([text]) == [plain]


@EXAMPLES
@given(st.lists(MARKED, max_size=6))
def test_without_markup_texts_do_not_touch_each_other(texts: list[str]) -> None:
    assert without_markup(texts) == [plain for text in texts for plain in without_markup([text])]
