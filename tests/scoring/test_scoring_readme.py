"""The worked example in the room's README is what the code computes."""

from pathlib import Path

import numpy as np

import flockoff.scoring
from flockoff.competition import Scoring
from flockoff.scoring import shares, update_scores, weights_from_scores, win_matrix, win_rates

MINERS = [("ann", 100, 1.000, 0.6), ("bob", 50, 1.004, 0.3), ("cyd", 200, 1.200, 0.1)]


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
    readme = (Path(flockoff.scoring.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert "\n".join(table) in readme
