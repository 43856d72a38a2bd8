"""The numbers behind the page's charts, as one small JSON value."""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import numpy as np

from flockoff.epoch.contest import Contest
from flockoff.errors import MinerFault
from flockoff.ledger import Result
from flockoff.ledger.views import Timing
from flockoff.records import ModelId
from flockoff.report.facts import BoardEntry, Facts
from flockoff.text import printable, short_hotkey

MOST_COMPETITORS = 64  # in the win matrix: more squares would be too small to see
_NOISE_TURNS = 2  # of one content, for an estimate of seed noise
_MOST_NOISY = 48
_TURN_DETAIL_CHARACTERS = 200

Json = dict[str, Any]


def page_data(facts: Facts) -> Json:
    """Everything that the page's scripts need. Miners are referred to by index in ``miners``."""
    departed = [hotkey for hotkey in facts.trends.weights if hotkey not in {e.hotkey for e in facts.board}]
    places = {entry.hotkey: place for place, entry in enumerate(facts.board)}
    places |= dict(zip(departed, count(len(places)), strict=False))
    details: dict[str, int] = {}
    return {
        "miners": [_miner(entry, details) for entry in facts.board]
        + [{"hotkey": hotkey, "short": short_hotkey(hotkey), "uid": None} for hotkey in departed],
        "details": list(details),
        "netuid": facts.netuid,
        "validator": facts.validator,
        "competition": facts.competition,
        "epoch": facts.epoch.start_block if facts.epoch else None,
        "rules": facts.epoch.rules if facts.epoch else None,
        "madeAt": facts.made_at,
        "silentAfter": facts.health.silent_after,
        "base": facts.base.loss if facts.base else None,
        "epsilon": facts.epsilon,
        "wins": _wins(facts.contest, places),
        "trends": _trends(facts, places),
        "waits": [[places[each.hotkey], each.epochs_since] for each in facts.queue],
        "noise": _noise(facts.board, places),
        "copies": [
            [places[entry.hotkey], places[owner], entry.reason]
            for entry in facts.board
            for owner in entry.copied
            if owner in places
        ],
        "timeline": _timeline(facts, places),
    }


def _miner(entry: BoardEntry, details: dict[str, int]) -> Json:
    return {
        "hotkey": entry.hotkey,
        "short": short_hotkey(entry.hotkey),
        "uid": entry.uid,
        "modelId": entry.model_id,
        "path": _hub_path(entry),
        "standing": entry.standing,
        "inEpoch": entry.in_epoch,
        "burn": entry.burn,
        "loss": _rounded(entry.loss, 7),
        "winRate": _rounded(entry.win_rate, 5),
        "share": _rounded(entry.share, 7),
        "score": _rounded(entry.score, 7),
        "weight": _rounded(entry.weight, 7),
        "turns": [_turn(turn, details) for turn in entry.turns],
    }


def _hub_path(entry: BoardEntry) -> str | None:
    """The dataset's path on the Hub; None for a malformed commitment."""
    try:
        model_id = ModelId.parse((entry.turns[0].model_id if entry.turns else None) or entry.model_id)
    except MinerFault:
        return None
    return f"{model_id.namespace}/tree/{model_id.commit}"


def _turn(turn: Result, details: dict[str, int]) -> list[Any]:
    detail = printable(turn.detail, _TURN_DETAIL_CHARACTERS)
    return [
        turn.epoch,
        turn.standing,
        turn.reason,
        details.setdefault(detail, len(details)),
        _rounded(turn.loss, 7),
        _rounded(turn.win_rate, 5),
        _rounded(turn.share, 7),
        _rounded(turn.score, 7),
        _rounded(turn.weight, 7),
    ]


def _wins(contest: Contest, places: dict[str, int]) -> Json:
    """Who beats whom among the eligible, best first: ``rows[i][j]`` is "1" where i beats j.

    ``margins[i][j]``: how far i's loss is below j's, relative to i's, as counted in this comparison.
    ``earlier[i][j]`` is "1" where i was committed before j.
    """
    losses = np.array([verdict.loss for verdict in contest.verdicts], dtype=np.float64)
    order = np.lexsort((losses, -contest.win_rates))[:MOST_COMPETITORS].tolist()
    shown = [contest.verdicts[i] for i in order]
    return {
        "of": len(contest.verdicts),
        "miners": [places[verdict.hotkey] for verdict in shown],
        "losses": [verdict.loss for verdict in shown],
        "rows": [_flags(contest.wins[i, j] for j in order) for i in order],
        "margins": [[round(float(contest.margins[i, j]), 5) for j in order] for i in order],
        "earlier": [_flags(one.block < other.block for other in shown) for one in shown],
    }


def _flags(values: Iterable[object]) -> str:
    return "".join("1" if value else "0" for value in values)


def _trends(facts: Facts, places: dict[str, int]) -> Json:
    trends = facts.trends
    return {
        "epochs": trends.epochs,
        "begunAt": [round(moment) for moment in trends.begun_at],
        "of": trends.of,
        "scores": [
            [places[hotkey], [_rounded(value, 5) for value in values]]
            for hotkey, values in trends.scores.items()
            if hotkey in places
        ],
        "weights": [
            [places[hotkey], [_rounded(value, 5) for value in values]]
            for hotkey, values in trends.weights.items()
        ],
        "otherWeights": [_rounded(value, 5) for value in trends.other_weights],
        "losses": [
            None
            if spread is None
            else [round(value, 6) for value in (spread.best, spread.median, spread.worst)]
            for spread in trends.losses
        ],
    }


def _noise(board: Iterable[BoardEntry], places: dict[str, int]) -> list[list[Any]]:
    """Each miner's losses of its current content under several epochs' seeds: [[epoch, loss], …]."""
    found: list[list[Any]] = []
    for entry in board:
        content = next((turn.content_hash for turn in entry.turns if turn.loss is not None), None)
        losses = [
            [turn.epoch, turn.loss]
            for turn in entry.turns
            if turn.loss is not None and turn.content_hash == content
        ]
        if content is not None and len(losses) >= _NOISE_TURNS:
            found.append([places[entry.hotkey], losses])
    return found[:_MOST_NOISY]


def _timeline(facts: Facts, places: dict[str, int]) -> Json | None:
    if facts.epoch is None:
        return None
    return {
        "begunAt": facts.epoch.begun_at,
        "closedAt": facts.epoch.closed_at,
        "weightsSetAt": facts.epoch.weights_set_at,
        "bars": [
            [
                places[timing.hotkey],
                lane,
                timing.recorded_at - timing.seconds,
                timing.recorded_at,
                timing.train_rows,
                timing.train_tokens,
                timing.loss,
            ]
            for timing, lane in zip(facts.timings, lanes(facts.timings), strict=True)
            if timing.hotkey in places
        ],
    }


def lanes(timings: Sequence[Timing]) -> list[int]:
    """Each evaluation's lane, from 0, with no overlap within a lane.

    The minimum number of lanes: evaluations are placed by start, each in the first free lane.
    """
    begins = [timing.recorded_at - timing.seconds for timing in timings]
    free_from: list[float] = []
    found = [0] * len(timings)
    for place in sorted(range(len(timings)), key=begins.__getitem__):
        lane = next((i for i, moment in enumerate(free_from) if moment <= begins[place]), len(free_from))
        if lane == len(free_from):
            free_from.append(0.0)
        free_from[lane] = timings[place].recorded_at
        found[place] = lane
    return found


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
