"""The worked examples in flockoff/scoring/README.md match the code."""

from pathlib import Path

import numpy as np

import flockoff.scoring
from flockoff.competition import Scoring
from flockoff.scoring import epoch_pay, shares, update_scores, weights_from_scores, win_matrix, win_rates
from flockoff.scoring.pay import distances, records

MINERS = [("ann", 100, 1.000, 0.6), ("bob", 50, 1.004, 0.3), ("cyd", 200, 1.200, 0.1)]
CROWD = [("ann", 50, 1.000), ("bob", 90, 1.001), ("cyd", 70, 1.006), ("dan", 60, 1.008), ("eve", 80, 1.01)]


def readme() -> str:
    return (Path(flockoff.scoring.__file__).parent / "README.md").read_text(encoding="utf-8")


def test_readme_worked_example_is_what_the_code_computes() -> None:
    rules = Scoring()
    names, blocks, losses, consensus = zip(*MINERS, strict=True)
    rates = win_rates(win_matrix(np.array(losses), np.array(blocks), rules.timestamp_epsilon))
    share = dict(zip(names, shares(rates, rules.temperature).tolist(), strict=True))
    scores = update_scores({}, share, [], names, rules.score_decay)
    at_uid = dict(enumerate(consensus))
    blended = weights_from_scores(scores, dict(enumerate(names)), at_uid, Scoring(max_vtrust_loss=1.0))
    weights = weights_from_scores(scores, dict(enumerate(names)), at_uid, rules)
    assert blended is not None
    assert weights is not None

    table = [
        f"| {name} | {block} | {loss:.3f} | {rates[uid]:.1f} | {share[name]:.6f} | {scores[name]:.6f} |"
        f" {consensus[uid]:.1f} | {blended[uid]:.6f} | {weights[uid]:.6f} |"
        for uid, (name, block, loss, _) in enumerate(MINERS)
    ]
    assert "\n".join(table) in readme()


def test_readme_pay_by_distance_is_what_the_code_computes() -> None:
    rules = Scoring()
    names = [name for name, _, _ in CROWD]
    blocks = np.array([block for _, block, _ in CROWD])
    losses = np.array([loss for _, _, loss in CROWD])
    distance = distances(losses, rules.timestamp_epsilon)
    record = records(win_matrix(losses, blocks, rules.timestamp_epsilon), blocks)
    weight = np.exp(distance / rules.crowd_scale) * (1 + rules.head_start * record)
    share = epoch_pay(losses, blocks, rules)
    by_wins = epoch_pay(losses, blocks, Scoring(pay="win_rate"))
    table = [
        f"| {name} | {blocks[i]} | {losses[i]:.4f} | {distance[i]:.3f} | {'yes' if record[i] else 'no'} |"
        f" {weight[i]:.2f} | {share[i]:.4f} | {by_wins[i]:.4f} |"
        for i, name in enumerate(names)
    ]
    assert "\n".join(table) in readme()
