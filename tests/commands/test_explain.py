"""``flockoff explain`` follows the numbers of scoring/README.md, from a ledger."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import Result

from flockoff.commands.explain import explained, explanation_lines
from flockoff.competition import ORIGINAL_COMPETITION_ID, Scoring
from flockoff.ledger import Ledger
from flockoff.openers import ledger_path
from flockoff.records import Commitment, ModelId, WeightsSet
from tests.support.ledger_records import EPOCH, begin, eligible, judge, settlement


@pytest.fixture
def settled(tmp_path: Path) -> Path:
    """annabel (block 100, loss 1.6) and bobbybob (block 90, loss 1.605): the earlier one wins by ε."""
    folder = tmp_path / "settled"
    rate = [0.0, 1.0]
    top = math.exp(1 / 0.08)
    share = [1 / (1 + top), top / (1 + top)]
    with Ledger.open(ledger_path(folder), netuid=1, competition=ORIGINAL_COMPETITION_ID) as ledger:
        names = ("annabel", "bobbybob")
        model_id = ModelId("a/b", ORIGINAL_COMPETITION_ID, "c" * 40)
        ledger.record_commitments(
            [
                Commitment(name, uid, model_id, block)
                for uid, (name, block) in enumerate(zip(names, (100, 90), strict=True), 1)
            ]
        )
        begin(ledger, names)
        for uid, (name, loss, block) in enumerate(zip(names, (1.6, 1.605), (100, 90), strict=True), 1):
            judge(ledger, replace(eligible(name, loss, uid=uid), block=block))
        ledger.close_epoch(
            settlement(
                EPOCH.start_block,
                scores=dict(zip(names, (0.2 * each for each in share), strict=True)),
                evaluated=names,
                win_rates=dict(zip(names, rate, strict=True)),
                shares=dict(zip(names, share, strict=True)),
            ),
            block=EPOCH.end_block,
        )
        ledger.record_choice(EPOCH.start_block, {"bobbybob": 0.9}, {"annabel": 0.5, "bobbybob": 0.5})
        ledger.record_weights(WeightsSet(EPOCH.start_block, 7, "7-1", {"annabel": 0.1, "bobbybob": 0.9}))
    return folder


def test_explain_names_every_step_with_its_numbers(flockoff: Callable[..., Result], settled: Path) -> None:
    done = flockoff("explain", "bobb", "--data-dir", str(settled))
    assert done.exit_code == 0, done.stderr
    shown = done.stdout
    assert "beats uid 1 annab…abel, which was later: 1.600000" in shown
    assert "win rate  1 / 1 = 1.0000" in shown
    assert "share     by distance, 0.623 clear wins behind the best, over the 2 = 0.999996" in shown
    assert "score     0.8 * 0.000000 + 0.2 * 0.999996 = 0.199999" in shown
    assert "0.8 * that + 0.2 * consensus (0.500000, normalised) = 0.899997" in shown
    assert "set       0.900000" in shown


def test_explain_json_is_the_same_in_numbers(flockoff: Callable[..., Result], settled: Path) -> None:
    told = json.loads(flockoff("explain", "1", "--data-dir", str(settled), "--json").stdout)
    [duel] = told["duels"]
    assert (duel["rival"], duel["won"], duel["earlier"]) == ("bobbybob", False, False)
    assert told["story"]["final"] == pytest.approx(0.8 * told["share"] + 0.1)
    assert told["weight"] == 0.1


def test_explain_of_a_ledger_of_another_competition_is_refused(
    flockoff: Callable[..., Result], tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('id = "other"\n', encoding="utf-8")
    done = flockoff("explain", "annabel", "--competition", str(rules))
    assert done.exit_code == 2
    assert "Give the validator's competition file with --competition." in done.stderr


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("carlotta", "verdict   duplicate: "),
        ("carlotta", "score     0.000000 → 0, since the miner was at fault"),
        ("annabel", "weight    not from these scores"),
    ],
)
def test_explain_of_others_says_why(flockoff: Callable[..., Result], who: str, expected: str) -> None:
    assert expected in flockoff("explain", who).stdout


@pytest.mark.parametrize(
    ("who", "expected"),
    [("carlotta", "the epoch ended before place 3 was evaluated"), ("daniella", "it had no place")],
)
def test_explain_without_a_verdict_tells_a_lost_race_from_no_place(
    flockoff: Callable[..., Result], tmp_path: Path, who: str, expected: str
) -> None:
    names = ("annabel", "bobbybob", "carlotta", "daniella")
    with Ledger.open(ledger_path(tmp_path / "cut"), netuid=1, competition=ORIGINAL_COMPETITION_ID) as ledger:
        model_id = ModelId("a/b", ORIGINAL_COMPETITION_ID, "c" * 40)
        ledger.record_commitments([Commitment(name, uid, model_id, 90) for uid, name in enumerate(names)])
        begin(ledger, names[:3])
        judge(ledger, eligible("annabel"))
        ledger.close_epoch(settlement(EPOCH.start_block, scores={"annabel": 0.2}), block=EPOCH.end_block)
    assert (
        f"verdict   none: {expected}" in flockoff("explain", who, "--data-dir", str(tmp_path / "cut")).stdout
    )


def test_explain_pay_by_distance_tells_how_far_behind_the_best(settled: Path) -> None:
    rules = Scoring(pay="distance")
    with Ledger.open(
        ledger_path(settled), netuid=1, competition=ORIGINAL_COMPETITION_ID, read_only=True
    ) as ledger:
        lines = [
            *explanation_lines(explained(ledger, "bobbybob", EPOCH.start_block, rules), rules, {}),
            *explanation_lines(explained(ledger, "annabel", EPOCH.start_block, rules), rules, {}),
        ]
    assert [line.split(" over ")[0] for line in lines if line.startswith("share")] == [
        "share     by distance, 0.623 clear wins behind the best,",
        "share     by distance, 0.000 clear wins behind the best,",
    ]
