"""The report's content, read from a ledger into plain records without presentation."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from flockoff.competition import Competition
from flockoff.epoch.contest import Contest, contest
from flockoff.epoch.queue import epochs_to_wait
from flockoff.errors import Reason
from flockoff.ledger import Ledger, Result
from flockoff.ledger.views import Committer, EpochSummary, SetupUse, Timing
from flockoff.records import Measurement, Verdict
from flockoff.report.health import Health, health_of
from flockoff.report.trends import Trends, read_trends
from flockoff.text import printable

EPOCHS_SHOWN = 1000
_TURNS_EACH = 10
_STRIP_EPOCHS = 60
_SETUPS = 6
_DETAIL_CHARACTERS = 400
_MODEL_ID_CHARACTERS = 200

Standing = Literal["eligible", "at_fault", "not_evaluated", "no_turn"]


@dataclass(frozen=True, slots=True)
class BoardEntry:
    """One miner on the leaderboard. ``last``: its latest turn, in any epoch; the first of ``turns``. Win
    rate, share and weight are of the epoch shown; the score is the one after it.
    """

    hotkey: str
    uid: int | None
    model_id: str  # printable; "" if unknown
    standing: Standing  # of the latest turn
    in_epoch: bool  # whether the latest turn was in the epoch shown
    reason: Reason | None
    detail: str  # printable
    loss: float | None
    win_rate: float | None
    share: float | None
    score: float | None
    weight: float | None
    turns: tuple[Result, ...]
    copied: tuple[str, ...]  # the hotkeys it was copied from
    burn: bool  # whether the epoch's weights burn at it


@dataclass(frozen=True, slots=True)
class Waiting:
    """A miner in the queue. ``epochs_since``: its last evaluation; None: never evaluated."""

    hotkey: str
    uid: int
    since: int  # block: first of the epoch of its last evaluation, else of its first commitment
    epochs_since: int | None
    at_the_latest: int  # most epochs until it has a place; 1 is the next one


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the current epoch, with its verdict once there is one."""

    hotkey: str
    uid: int
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the page shows. Times are UTC seconds."""

    netuid: int
    competition: str
    validator: str | None
    made_at: float
    health: Health
    epoch: EpochSummary | None  # the leaderboard's; None: none begun yet
    running: EpochSummary | None
    places: tuple[Place, ...]  # of the current epoch
    strip: tuple[EpochSummary, ...]  # the last epochs, oldest first
    board: tuple[BoardEntry, ...]
    contest: Contest  # of the eligible of the epoch shown
    base: Measurement | None
    trends: Trends
    timings: tuple[Timing, ...]
    queue: tuple[Waiting, ...]  # longest wait first
    setups: tuple[SetupUse, ...]
    epsilon: float

    @property
    def burn(self) -> BoardEntry | None:
        return next((entry for entry in self.board if entry.burn), None)

    @property
    def counts(self) -> Counter[str]:
        """The number of miners by standing."""
        return Counter(entry.standing for entry in self.board)


def read_facts(ledger: Ledger, rules: Competition, now: float, epochs: int = EPOCHS_SHOWN) -> Facts:
    """The facts of the last ``epochs`` epochs. ``now``: UTC seconds. Raises LedgerError, and
    LedgerUnavailable for an unused ledger.
    """
    identity = ledger.identity()
    summaries = ledger.views.epochs(epochs)
    closed = [summary for summary in summaries if summary.closed_at is not None]
    running = next((summary for summary in summaries[:1] if summary.closed_at is None), None)
    epoch = closed[0] if closed else running
    start_block = epoch.start_block if epoch else 0
    turns = _by_hotkey(ledger.views.recent_results(_TURNS_EACH))
    committers = ledger.views.committers()
    rows = ledger.views.leaderboard(start_block) if epoch else []
    burn = ledger.views.burned_to(rows)
    return Facts(
        netuid=identity.netuid,
        competition=identity.competition,
        validator=identity.hotkey,
        made_at=now,
        health=health_of(summaries, now),
        epoch=epoch,
        running=running,
        places=_places(ledger, running),
        strip=tuple(reversed(summaries[:_STRIP_EPOCHS])),
        board=_board(rows, committers, turns, start_block, burn),
        contest=contest(ledger.verdicts(start_block), rules.scoring),
        base=ledger.base_loss(),
        trends=read_trends(ledger.views, closed),
        timings=tuple(ledger.views.timings(start_block)),
        queue=_queue(ledger, committers, rules, summaries),
        setups=tuple(ledger.views.setups(_SETUPS)),
        epsilon=rules.scoring.timestamp_epsilon,
    )


def _by_hotkey(turns: Sequence[Result]) -> dict[str, tuple[Result, ...]]:
    found: dict[str, list[Result]] = {}
    for turn in turns:
        found.setdefault(turn.hotkey, []).append(turn)
    return {hotkey: tuple(each) for hotkey, each in found.items()}


def _places(ledger: Ledger, running: EpochSummary | None) -> tuple[Place, ...]:
    if running is None:
        return ()
    verdicts = {verdict.hotkey: verdict for verdict in ledger.verdicts(running.start_block)}
    plan = ledger.epoch_plan(running.start_block) or []
    return tuple(Place(each.hotkey, each.uid, verdicts.get(each.hotkey)) for each in plan)


def _board(
    rows: Sequence[Result],
    committers: Sequence[Committer],
    turns: Mapping[str, tuple[Result, ...]],
    epoch: int,
    burn: str | None,
) -> tuple[BoardEntry, ...]:
    """Everybody in the epoch, in the leaderboard's order, then other committers."""
    listed = {row.hotkey for row in rows}
    others = [
        Result(epoch, each.hotkey, each.uid, each.model_id, None)
        for each in committers
        if each.hotkey not in listed
    ]
    known = listed | turns.keys() | {each.hotkey for each in committers}
    return tuple(
        replace(_entry(row, turns.get(row.hotkey, ()), epoch, known), burn=row.hotkey == burn)
        for row in [*rows, *others]
    )


def _entry(row: Result, turns: tuple[Result, ...], epoch: int, known: Collection[str]) -> BoardEntry:
    # Turns in the current epoch are shown with that epoch.
    settled = tuple(turn for turn in turns if turn.epoch <= epoch)
    last = settled[0] if settled else None
    return BoardEntry(
        hotkey=row.hotkey,
        uid=row.uid,
        model_id=printable((last.model_id if last else row.model_id) or "", _MODEL_ID_CHARACTERS),
        standing=(last.standing if last else None) or "no_turn",
        in_epoch=row.standing is not None,
        reason=last.reason if last else None,
        detail=printable(last.detail, _DETAIL_CHARACTERS) if last else "",
        loss=last.loss if last else None,
        win_rate=row.win_rate,
        share=row.share,
        score=row.score,
        weight=row.weight,
        turns=settled,
        copied=tuple(hotkey for hotkey in last.copied if hotkey in known) if last else (),
        burn=False,
    )


def _queue(
    ledger: Ledger,
    committers: Sequence[Committer],
    rules: Competition,
    summaries: Sequence[EpochSummary],
) -> tuple[Waiting, ...]:
    memory = ledger.memory()
    evaluated = memory.last_evaluated
    waits = epochs_to_wait({each.hotkey: each.first_block for each in committers}, memory, rules.queue)
    starts = sorted(summary.start_block for summary in summaries)
    waiting = [
        Waiting(
            hotkey=each.hotkey,
            uid=each.uid,
            since=evaluated.get(each.hotkey, each.first_block),
            epochs_since=None
            if each.hotkey not in evaluated
            else sum(start > evaluated[each.hotkey] for start in starts),
            at_the_latest=waits[each.hotkey],
        )
        for each in committers
    ]
    return tuple(sorted(waiting, key=lambda each: (each.epochs_since is not None, each.since, each.hotkey)))
