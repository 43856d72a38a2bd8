"""The miners of a game: who commits which dataset when."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from flockoff.records import Row
from flockoff.simulate.contents import ROWS, TASK, in_disguise, own_rows
from flockoff.simulate.scenario import Scenario


class Strategy(StrEnum):
    """A hotkey's strategy; ``flockoff.simulate.scenario.Miners`` describes them. The first sybil owns the
    dataset that the other sybils commit after it. The friend is the worst of the honest miners, whom
    dishonest validators favour.
    """

    HONEST = "honest"
    NEWCOMER = "newcomer"
    SLEEPER = "sleeper"
    SPAMMER = "spammer"
    FIRST_SYBIL = "first sybil"
    SYBIL = "further sybil"
    EXACT_COPIER = "exact copier"
    DISGUISED_COPIER = "disguised copier"
    CONTAMINATOR = "contaminator"
    FRIEND = "validator's friend"
    INDEPENDENT = "one owner's best"
    LARGE = "one owner's largest"
    SWAPPER = "swapper"
    VICTIM = "victim"
    LAUNDERER = "launderer"
    LAUNDERED = "laundered copy"
    FORMAT_SQUATTER = "format squatter"
    PUBLIC_SQUATTER = "public squatter"
    PUBLIC_USER = "user of public rows"
    UPDATE_THIEF = "update thief"
    ROW_COPIER = "row-level copier"


CHEATS = (
    Strategy.SYBIL,
    Strategy.EXACT_COPIER,
    Strategy.DISGUISED_COPIER,
    Strategy.CONTAMINATOR,
    Strategy.LAUNDERED,
    Strategy.FORMAT_SQUATTER,
    Strategy.UPDATE_THIEF,
    Strategy.ROW_COPIER,
)


USUAL_TOKENS = 2_560_000  # 10,000 rows of 256
LARGEST_TOKENS = 5_120_000


@dataclass(frozen=True, slots=True)
class GameDataset:
    """``change``: of the loss, relative to the base model's, averaged over seeds. ``content``: its identity
    to duplicate detection: a detected copy has its original's.
    """

    name: str
    change: float
    content: str
    contaminated: bool = False  # and detected
    tokens: int = USUAL_TOKENS  # per pass
    endless: bool = False  # no worker ever finishes it
    rows: tuple[Row, ...] = ()  # in games about ownership
    sealed_change: float | None = None  # on a sealed evaluation set; None: the same as on the public one


@dataclass(frozen=True, slots=True)
class Move:
    """A commitment, made in ``epoch`` and counting from the next one; 0 is before the game."""

    epoch: int
    offset: int  # blocks after the epoch's start
    dataset: GameDataset


@dataclass(frozen=True, slots=True)
class Miner:
    hotkey: str
    strategy: Strategy
    submissions: tuple[Move, ...]  # in order of epoch, at least one


def populate(scenario: Scenario, seed: int) -> list[Miner]:
    """The scenario's miners. ``seed`` decides who commits first and which cheats are detected."""
    rng = np.random.default_rng(seed)
    offsets = iter(rng.permutation(scenario.miners.total).tolist())
    honest = [*_honest(scenario, offsets), *_sleepers(scenario, offsets), *_newcomers(scenario, offsets)]
    return [
        *honest,
        *_sybils(scenario, offsets),
        *_spammers(scenario, offsets),
        *_contaminators(scenario, offsets, rng),
        *_exact_copiers(scenario, offsets, honest),
        *_disguised_copiers(scenario, offsets, honest, rng),
        *_independents(scenario, offsets),
        *_large(scenario, offsets),
        *_swappers(scenario, offsets),
        *_thefts(scenario, offsets, seed),
        *_public_rows(scenario, offsets, seed),
    ]


def _honest(scenario: Scenario, offsets: Iterator[int]) -> Iterator[Miner]:
    data = scenario.data
    changes = np.linspace(data.best, data.worst, scenario.miners.honest).tolist()
    friend = len(changes) - 1 if scenario.validators.dishonest else None
    for number, change in enumerate(changes):
        strategy = Strategy.FRIEND if number == friend else Strategy.HONEST
        yield _miner(strategy, number, [(0, next(offsets), change)])


def _sleepers(scenario: Scenario, offsets: Iterator[int]) -> Iterator[Miner]:
    for number in range(scenario.miners.sleepers):
        offset = next(offsets)
        plan = [(0, offset, scenario.data.best), (scenario.miners.sleepers_turn, offset, scenario.data.noise)]
        yield _miner(Strategy.SLEEPER, number, plan)


def _newcomers(scenario: Scenario, offsets: Iterator[int]) -> Iterator[Miner]:
    for number in range(scenario.miners.newcomers):
        come = scenario.miners.newcomers_come
        plan = [(come, next(offsets), scenario.data.newcomer)]
        yield _miner(Strategy.NEWCOMER, number, plan, tokens=scenario.data.newcomer_tokens)


def _spammers(scenario: Scenario, offsets: Iterator[int]) -> Iterator[Miner]:
    for number in range(scenario.miners.spammers):
        offset = next(offsets)
        plan = [(epoch, offset, scenario.data.middling) for epoch in range(scenario.epochs)]
        yield _miner(Strategy.SPAMMER, number, plan)


def _sybils(scenario: Scenario, offsets: Iterator[int]) -> Iterator[Miner]:
    dataset = GameDataset("sybil", scenario.data.middling, "sybil")
    for number, offset in enumerate(sorted(next(offsets) for _ in range(scenario.miners.sybils))):
        strategy = Strategy.SYBIL if number else Strategy.FIRST_SYBIL
        yield Miner(_hotkey(strategy, number), strategy, (Move(0, offset, dataset),))


def _contaminators(scenario: Scenario, offsets: Iterator[int], rng: np.random.Generator) -> Iterator[Miner]:
    for number in range(scenario.miners.contaminators):
        hotkey = _hotkey(Strategy.CONTAMINATOR, number)
        found = bool(rng.random() < scenario.data.contamination_recall)
        dataset = GameDataset(
            hotkey,
            scenario.data.contaminated,
            hotkey,
            contaminated=found,
            sealed_change=scenario.data.contaminated_sealed,
        )
        yield Miner(hotkey, Strategy.CONTAMINATOR, (Move(0, next(offsets), dataset),))


def _exact_copiers(scenario: Scenario, offsets: Iterator[int], honest: Sequence[Miner]) -> Iterator[Miner]:
    for number in range(scenario.miners.exact_copiers):
        offset = next(offsets)
        copies = [Move(epoch, offset, dataset) for epoch, dataset in _worth_copying(honest)]
        yield Miner(_hotkey(Strategy.EXACT_COPIER, number), Strategy.EXACT_COPIER, tuple(copies))


def _disguised_copiers(
    scenario: Scenario, offsets: Iterator[int], honest: Sequence[Miner], rng: np.random.Generator
) -> Iterator[Miner]:
    for number in range(scenario.miners.disguised_copiers):
        hotkey, offset = _hotkey(Strategy.DISGUISED_COPIER, number), next(offsets)
        copies = []
        for epoch, original in _worth_copying(honest):
            found = rng.random() < scenario.data.copy_recall
            name = f"{hotkey}-{epoch}"
            dataset = GameDataset(
                name, original.change + scenario.data.copy_costs, original.content if found else name
            )
            copies.append(Move(epoch, offset, dataset))
        yield Miner(hotkey, Strategy.DISGUISED_COPIER, tuple(copies))


def _independents(scenario: Scenario, offsets: Iterator[int]) -> Iterator[Miner]:
    change = scenario.data.best - scenario.data.ahead
    for number in range(scenario.miners.independents):
        yield _miner(Strategy.INDEPENDENT, number, [(0, next(offsets), change)])


def _large(scenario: Scenario, offsets: Iterator[int]) -> Iterator[Miner]:
    for number in range(scenario.miners.large):
        plan = [(0, next(offsets), scenario.data.middling)]
        yield _miner(Strategy.LARGE, number, plan, tokens=LARGEST_TOKENS)


def _swappers(scenario: Scenario, offsets: Iterator[int]) -> Iterator[Miner]:
    for number in range(scenario.miners.swappers):
        offset, hotkey = next(offsets), _hotkey(Strategy.SWAPPER, number)
        change = scenario.data.best - scenario.data.ahead
        good = GameDataset(f"{hotkey}-good", change, f"{hotkey}-good")
        endless = replace(good, name=f"{hotkey}-endless", content=f"{hotkey}-endless", endless=True)
        turn = scenario.miners.sleepers_turn
        yield Miner(hotkey, Strategy.SWAPPER, (Move(0, offset, good), Move(turn, offset, endless)))


def _thefts(scenario: Scenario, offsets: Iterator[int], seed: int) -> Iterator[Miner]:
    """One victim, the best of all, and those who want its rows."""
    players = scenario.miners
    if not players.victims:
        return
    first, *later = sorted(next(offsets) for _ in range(players.format_squatters + 1))
    victim_offset = later[-1] if later else first  # a squatter comes before
    change = scenario.data.best - scenario.data.ahead
    own = own_rows(seed, task=TASK if players.format_squatters else "")
    submissions = [_with_rows("victim", 0, victim_offset, change, own)]
    if players.update_thieves:
        better = (*own[ROWS // 6 :], *own_rows(seed + 1, count=ROWS // 2))
        submissions.append(_with_rows("victim", 2, victim_offset, change - 0.002, better))
    yield Miner("victim-0", Strategy.VICTIM, tuple(submissions))

    middling, worse = scenario.data.middling, change + scenario.data.copy_costs
    for number in range(players.format_squatters):
        rows = own_rows(seed + 100 + number, count=3, task=TASK)
        offset = [first, *later][number]
        yield _committing(Strategy.FORMAT_SQUATTER, number, 0, offset, scenario.data.worst, rows)
    for number in range(players.update_thieves):
        yield _committing(Strategy.UPDATE_THIEF, number, 1, next(offsets), worse, own[1:])
    for number in range(players.row_copiers):
        rows = in_disguise(own, seed + number)
        yield _committing(Strategy.ROW_COPIER, number, 1, next(offsets), worse, rows)
    for number in range(players.launderers):
        rows = (*own, *own_rows(seed + 200 + number, count=3 * ROWS + ROWS // 2))
        yield _committing(Strategy.LAUNDERER, number, 1, next(offsets), middling, rows)
    if players.launderers:
        offset, turn = next(offsets), players.sleepers_turn
        yield _committing(Strategy.LAUNDERED, 0, turn, offset, worse, own[1:])


def _public_rows(scenario: Scenario, offsets: Iterator[int], seed: int) -> Iterator[Miner]:
    """The first to commit a public collection, and miners with half of their rows from it."""
    players = scenario.miners
    public = public_rows(seed) if players.public_squatters else ()
    places = sorted(next(offsets) for _ in range(players.public_squatters + players.public_users))
    for number in range(players.public_squatters):
        rows = public[number:]
        yield _committing(Strategy.PUBLIC_SQUATTER, number, 0, places[number], scenario.data.worst, rows)
    for number, offset in enumerate(places[players.public_squatters :]):
        rows = (*public[number::2], *own_rows(seed + 300 + number, count=ROWS // 2))
        change = scenario.data.best - scenario.data.ahead
        yield _committing(Strategy.PUBLIC_USER, number, 0, offset, change, rows)


def public_rows(seed: int) -> tuple[Row, ...]:
    """The public collection of the game with this ``seed``."""
    return own_rows(seed + 400)


def _committing(
    strategy: Strategy, number: int, epoch: int, offset: int, change: float, rows: tuple[Row, ...]
) -> Miner:
    hotkey = _hotkey(strategy, number)
    return Miner(hotkey, strategy, (_with_rows(hotkey, epoch, offset, change, rows),))


def _with_rows(who: str, epoch: int, offset: int, change: float, rows: tuple[Row, ...]) -> Move:
    name = f"{who}-{epoch}"
    return Move(epoch, offset, GameDataset(name, change, name, rows=rows))


def _worth_copying(honest: Sequence[Miner]) -> Iterator[tuple[int, GameDataset]]:
    """Each dataset that is better than all before it, with the epoch after its commitment.

    It is public by then. A thief cannot know which is truly the best.
    """
    published = sorted(
        (submission for miner in honest for submission in miner.submissions),
        key=lambda submission: (submission.epoch, submission.dataset.change),
    )
    best = np.inf
    for submission in published:
        if submission.dataset.change < best:
            best = submission.dataset.change
            yield submission.epoch + 1, submission.dataset


def _miner(
    strategy: Strategy,
    number: int,
    plan: Sequence[tuple[int, int, float]],
    *,
    tokens: int = USUAL_TOKENS,
) -> Miner:
    """A miner with its own datasets. ``plan``: (epoch, offset, change) of each commitment."""
    hotkey = _hotkey(strategy, number)
    submissions = []
    for epoch, offset, change in plan:
        name = f"{hotkey}-{epoch}"
        submissions.append(Move(epoch, offset, GameDataset(name, change, name, tokens=tokens)))
    return Miner(hotkey, strategy, tuple(submissions))


def _hotkey(strategy: Strategy, number: int) -> str:
    return f"{strategy.replace(' ', '-')}-{number}"
