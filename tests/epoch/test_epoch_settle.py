"""Settling an epoch: copies, rates, scores, turns, witnesses."""

from dataclasses import replace

import numpy as np
import pytest

from flockoff.competition import Competition, Scoring
from flockoff.dataset import Borrowed, BorrowedAnswer, Claim, Owner
from flockoff.epoch.contest import contest, later_beats
from flockoff.epoch.memory import Memory
from flockoff.epoch.settle import Evidence, remember, settle
from flockoff.errors import FaultKind, Reason
from flockoff.records import Verdict

RULES = Competition()
COLDKEYS = {hotkey: f"coldkey of {hotkey}" for hotkey in ("ann", "bob", "cyd", "dan")}


def measured(hotkey: str, loss: float, block: int = 100, content: str = "") -> Verdict:
    return Verdict(360, hotkey, 1, "", block, "eligible", None, "", content or f"of {hotkey}", loss)


def test_contest_says_who_beats_whom_and_by_which_margin() -> None:
    found = contest([measured("ann", 1.0, 100), measured("bob", 1.004, 50)], Scoring())
    # bob was earlier, so he counts with 0.995 * 1.004 = 0.99898.
    assert found.wins.tolist() == [[False, False], [True, False]]
    assert found.margins == pytest.approx(np.array([[0.0, 0.99898 / 1.0 - 1], [1.0 / 0.99898 - 1, 0.0]]))
    assert found.rates_by_hotkey == {"ann": 0.0, "bob": 1.0}
    assert sum(found.shares_by_hotkey.values()) == pytest.approx(1.0)


def test_contest_a_loss_of_zero_wins_by_no_margin() -> None:
    found = contest([measured("ann", 0.0), measured("bob", 1.0)], Scoring())
    assert found.wins.tolist() == [[False, True], [False, False]]
    assert found.margins.tolist() == [[0.0, 0.0], [-1.0, 0.0]]


def test_contest_of_nobody_is_empty() -> None:
    found = contest([], Scoring())
    assert (found.verdicts, found.rates_by_hotkey, found.shares_by_hotkey) == ((), {}, {})


def test_contest_tells_distances_only_where_they_pay() -> None:
    verdicts = [measured("ann", 1.1, 100), measured("bob", 1.0, 100)]
    by_rate, by_distance = (contest(verdicts, Scoring(pay=pay)) for pay in ("win_rate", "distance"))
    assert (by_rate.behind, by_rate.behind_by_hotkey) == (None, {})
    assert by_distance.behind_by_hotkey["bob"] == 0 < by_distance.behind_by_hotkey["ann"]


def test_later_beats_by_more_than_epsilon() -> None:
    assert later_beats(0.9949, 1.0, Scoring())
    assert not later_beats(0.995, 1.0, Scoring())


def test_settle_moves_the_scores_of_those_who_competed_and_of_those_at_fault() -> None:
    verdicts = [
        measured("ann", 1.0),
        replace(measured("bob", 1.0), standing="at_fault", loss=None, reason=Reason.NOT_JSON),
        replace(measured("cyd", 1.0), standing="not_evaluated", loss=None, fault=FaultKind.HUB_TRANSIENT),
    ]
    memory = Memory(scores={"ann": 0.5, "bob": 0.5, "cyd": 0.5, "gone": 0.5})
    found = settle(360, verdicts, memory, COLDKEYS, RULES, Evidence())
    assert found.scores == pytest.approx({"ann": 0.8 * 0.5 + 0.2, "bob": 0.0, "cyd": 0.5})
    assert found.turns == ("ann", "bob")
    assert remember(memory, found).last_evaluated == {"ann": 360, "bob": 360}


def test_settle_finds_content_that_is_anothers_and_says_whose() -> None:
    verdicts = [measured("ann", 1.0), measured("bob", 1.2, content="of ann")]
    evidence = Evidence(claims={"of ann": Claim("of ann", "ann", 100, 1)})
    found = settle(360, verdicts, Memory(), COLDKEYS, RULES, evidence)
    [copy] = found.copies
    assert (copy.hotkey, copy.reason, copy.copied, copy.loss) == ("bob", Reason.DUPLICATE, ("ann",), 1.2)
    assert found.win_rates == {"ann": 1.0}


def test_settle_finds_equal_losses_and_blames_the_later() -> None:
    verdicts = [measured("ann", 1.0, 200), measured("bob", 1.0 * (1 + 1e-12), 100)]
    found = settle(360, verdicts, Memory(), COLDKEYS, RULES, Evidence())
    [copy] = found.copies
    assert (copy.hotkey, copy.reason, copy.copied) == ("ann", Reason.SAME_LOSS, ("bob",))
    assert "hotkey bob committed in block 100" in copy.detail


def test_settle_finds_what_only_the_whole_epoch_shows_to_be_others() -> None:
    answers = tuple(BorrowedAnswer(line, 60, Claim("of bob", "bob", 5, 1), line) for line in range(1, 11))
    evidence = Evidence(
        borrowed={"of ann": Borrowed(1000, answers)}, borrowed_shares={"of ann": 0.0, "of bob": 0.0}
    )
    found = settle(360, [measured("ann", 1.0), measured("bob", 1.1)], Memory(), COLDKEYS, RULES, evidence)
    [copy] = found.copies
    assert (copy.hotkey, copy.reason, copy.copied) == ("ann", Reason.NEAR_DUPLICATE, ("bob",))
    assert found.witnesses == {"of bob": "coldkey of bob"}


def test_settle_leaves_a_dataset_of_which_little_is_others_and_goes_by_its_latest_examination() -> None:
    def of_bobs(tokens: int) -> Borrowed:
        return Borrowed(1000, (BorrowedAnswer(1, tokens, Claim("of bob", "bob", 5, 1), 1),))

    for tokens, before, witnesses in ((60, 0.3, {"of ann": "coldkey of ann"}), (300, 0.0, {})):
        evidence = Evidence(borrowed={"of ann": of_bobs(tokens)}, borrowed_shares={"of ann": before})
        found = settle(360, [measured("ann", 1.0)], Memory(), COLDKEYS, RULES, evidence)
        assert (found.copies, found.witnesses) == ((), witnesses)


def test_settle_finds_copies_only_among_those_who_compete() -> None:
    unmeasured = replace(measured("ann", 1.0), standing="not_evaluated", loss=None, fault=FaultKind.SETUP)
    answers = tuple(BorrowedAnswer(line, 60, Claim("of bob", "bob", 5, 1), line) for line in range(1, 11))
    evidence = Evidence(
        claims={"of ann": Claim("of ann", "bob", 5, 1)}, borrowed={"of ann": Borrowed(1000, answers)}
    )
    assert settle(360, [unmeasured], Memory(), COLDKEYS, RULES, evidence).copies == ()
    invalid = replace(measured("ann", 1.0), standing="at_fault", reason=Reason.CONTAMINATED)
    same = measured("bob", 1.0, block=200)
    assert settle(360, [invalid, same], Memory(), COLDKEYS, RULES, Evidence()).copies == ()


def test_settle_only_the_better_half_with_mostly_rows_of_its_own_bears_witness() -> None:
    verdicts = [measured("ann", 1.0), measured("bob", 1.1), measured("cyd", 1.2), measured("dan", 1.3)]
    evidence = Evidence(borrowed_shares={"of ann": 0.26, "of bob": 0.25, "of cyd": 0.0, "of dan": 0.0})
    found = settle(360, verdicts, Memory(), COLDKEYS, RULES, evidence)
    assert found.witnesses == {"of bob": "coldkey of bob"}


def test_settle_the_middle_of_three_belongs_to_the_better_half() -> None:
    verdicts = [measured("ann", 1.0), measured("bob", 1.1), measured("cyd", 1.2)]
    evidence = Evidence(borrowed_shares={"of bob": 0.0, "of cyd": 0.0})
    found = settle(360, verdicts, Memory(), COLDKEYS, RULES, evidence)
    assert found.win_rates["bob"] == 0.5
    assert found.witnesses == {"of bob": "coldkey of bob"}


def test_settle_a_missed_turn_counts_only_where_another_was_measured() -> None:
    failed = replace(measured("ann", 1.0), standing="not_evaluated", loss=None, fault=FaultKind.TOO_SLOW)
    invalid = replace(measured("bob", 1.0), standing="at_fault", loss=None, reason=Reason.NOT_JSON)
    for other, missed in ((invalid, {}), (measured("bob", 1.0), {"ann": 1})):
        assert settle(360, [failed, other], Memory(), COLDKEYS, RULES, Evidence()).missed == missed


def test_settle_equal_losses_blame_nobody_for_what_lapsed() -> None:
    verdicts = [measured("ann", 1.0, 100), measured("bob", 1.0, 200), measured("cyd", 1.0, 300)]
    lapsed = owner(evaluations=3, best_win_rate=0.4)
    evidence = Evidence(owners={"ann": lapsed, "bob": owner(coldkey="b"), "cyd": owner(coldkey="c")})
    found = settle(360, verdicts, Memory(), COLDKEYS, RULES, evidence)
    assert [(copy.hotkey, copy.copied) for copy in found.copies] == [("cyd", ("bob",))]


def test_settle_whoever_left_bears_no_witness() -> None:
    evidence = Evidence(borrowed_shares={"of ann": 0.0, "of eve": 0.0})
    found = settle(360, [measured("ann", 1.0), measured("eve", 0.9)], Memory(), COLDKEYS, RULES, evidence)
    assert found.win_rates == {"ann": 0.0, "eve": 1.0}
    assert found.witnesses == {} and "eve" not in found.scores


def owner(**about: object) -> Owner:
    known = {
        "coldkey": "cold",
        "registered": True,
        "succeeded": False,
        "evaluations": 0,
        "best_win_rate": None,
    }
    return Owner(**(known | about))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("of_ann", "standing"),
    [
        (owner(), "at_fault"),
        (owner(evaluations=9, best_win_rate=0.5), "at_fault"),
        (owner(evaluations=3, best_win_rate=0.4), "eligible"),  # never won: the claim has lapsed
        (owner(registered=False), "eligible"),  # gone, with all its coldkey had
        (owner(registered=False, succeeded=True), "at_fault"),
        (owner(registered=False, succeeded=True, coldkey="cold bob"), "eligible"),  # bob's own, from before
    ],
)
def test_settle_a_claim_stands_as_long_as_its_owner_has_standing(of_ann: Owner, standing: str) -> None:
    evidence = Evidence(
        claims={"of ann": Claim("of ann", "ann", 100, 1)},
        owners={"ann": of_ann, "bob": owner(coldkey="cold bob")},
    )
    verdicts = [measured("bob", 1.2, block=200, content="of ann")]
    found = settle(360, verdicts, Memory(), COLDKEYS, RULES, evidence)
    assert found.verdicts[0].standing == standing
