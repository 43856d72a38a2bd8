"""Scenarios: who plays, under which rules, for how long."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from flockoff.competition import Competition, Overlap, Queue, Scoring, SealedSet, from_table, toml_table
from flockoff.errors import UsageError
from flockoff.files import hand_written
from flockoff.simulate.checks import require
from flockoff.simulate.noise import NoiseModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Miners:
    """How many hotkeys follow which strategy. The rest of ``total`` is honest.

    - exact copiers commit the best public dataset, and again whenever there is a better one.
    - disguised copiers do the same with changes meant to evade duplicate detection.
    - sybils are one owner's hotkeys that all commit one (good) dataset.
    - contaminators train on the evaluation set's answers.
    - spammers commit a new variant of a middling dataset in every epoch.
    - sleepers have good data, and commit noise in its place in epoch ``sleepers_turn``.
    - newcomers commit the best data of all in epoch ``newcomers_come``.
    - independents are one owner's hotkeys, each with a dataset of its own that is ``data.ahead`` better than
      the best of the honest.
    - large ones are one owner's hotkeys, each with a middling dataset of its own, as large as is allowed.
    - swappers have data like independents, and commit what no worker can finish in epoch ``sleepers_turn``.

    Some go for the rows of one victim, whose data is ``data.ahead`` better than the best of the honest; its
    rows and theirs are made up, and whose they are is looked up by the real sketches:

    - launderers each put all of them among three and a half times as many of their own; in epoch
      ``sleepers_turn`` a further hotkey commits them without one row.
    - format squatters commit three rows with its task's instruction before it does.
    - update thieves copy its first dataset, before it commits a better one in epoch 2.
    - row copiers disguise its rows one by one.

    Public squatters are the first to commit a collection that everybody can have; public users are three
    miners as good as the victim, half of whose rows are of that.
    """

    total: int = 64
    exact_copiers: int = 4
    disguised_copiers: int = 4
    sybils: int = 20
    contaminators: int = 3
    spammers: int = 3
    sleepers: int = 3
    newcomers: int = 1
    independents: int = 0
    large: int = 0
    swappers: int = 0
    launderers: int = 0
    format_squatters: int = 0
    update_thieves: int = 0
    row_copiers: int = 0
    public_squatters: int = 0
    newcomers_come: int = 50
    sleepers_turn: int = 50

    def __post_init__(self) -> None:
        require(min(dataclasses.astuple(self)) >= 0, "no number of miners may be negative")
        require(1 <= self.total <= 256, "miners.total must be 1 to 256, as many as a subnet has places")
        _require_an_honest_one("miners", self.total, self.honest)

    @property
    def honest(self) -> int:
        others = self.exact_copiers + self.disguised_copiers + self.sybils + self.contaminators
        others += self.independents + self.large + self.swappers
        others += self.victims + self.format_squatters + self.update_thieves + self.row_copiers
        others += self.launderers + bool(self.launderers) + self.public_squatters + self.public_users
        return self.total - others - self.spammers - self.sleepers - self.newcomers

    @property
    def victims(self) -> int:
        thieves = self.launderers + self.format_squatters + self.update_thieves + self.row_copiers
        return int(thieves > 0)

    @property
    def public_users(self) -> int:
        return 3 if self.public_squatters else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """How many validators follow which strategy, each with the same stake. The rest of ``total`` is honest.

    - weight copiers evaluate nothing and set the last epoch's consensus.
    - dishonest ones give ``favour`` of their weight to one friend, the worst of the honest miners.
    - flaky ones are down in a random half of all epochs; their last weights stay on chain meanwhile.

    ``yuma3``: how the chain pays them, as on new subnets, or by the original Yuma, as on older ones.

    Each trains on ``capacity`` tokens an epoch; what is left of its queue then is cut off. None: no end.
    """

    total: int = 5
    weight_copiers: int = 1
    dishonest: int = 1
    flaky: int = 1
    favour: float = 0.5
    yuma3: bool = True
    capacity: int | None = None

    def __post_init__(self) -> None:
        require(min(self.weight_copiers, self.dishonest, self.flaky) >= 0, "validators cannot be negative")
        require(self.total <= 64, "validators.total must be at most 64, as many as a subnet has permits")
        _require_an_honest_one("validators", self.total, self.honest)
        require(0 <= self.favour <= 1, "validators.favour must be in [0, 1]")
        require(self.capacity is None or self.capacity >= 1, "validators.capacity must be at least 1")

    @property
    def honest(self) -> int:
        return self.total - self.weight_copiers - self.dishonest - self.flaky


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Datasets' effects on the loss, as relative changes, and how well cheating is detected.

    Honest datasets are spread evenly from ``best`` to ``worst``. From 6 runs on SmolLM2: good data -6.1 %, a
    small good dataset -3.5 %, noise +8.75 % on average. ``listed``: whether the competition's public sample
    has the public collection. An undetected copy is ``copy_costs`` worse than its original. How well
    contamination pays and how often copies and contamination are detected (``recall``, drawn once per
    dataset) are assumptions.
    """

    best: float = -0.061
    worst: float = -0.02
    newcomer: float = -0.075
    newcomer_tokens: int = 2_560_000
    ahead: float = 0.005
    noise: float = 0.0875
    contaminated: float = -0.15
    contaminated_sealed: float = -0.03  # on a sealed set, where a competition has one
    sealed_rows: int = 24  # in that set, and equally many in the public one
    copy_costs: float = 0.001
    copy_recall: float = 0.99
    contamination_recall: float = 0.99
    listed: bool = False

    def __post_init__(self) -> None:
        require(-1 < self.best <= self.worst, "data.best must be at most data.worst, and above -1")
        require(min(self.newcomer, self.contaminated) > -1, "a loss cannot fall by more than all of it")
        for recall in (self.copy_recall, self.contamination_recall):
            require(0 <= recall <= 1, "a recall must be in [0, 1]")
        require(self.sealed_rows >= 1, "data.sealed_rows must be at least 1")

    @property
    def middling(self) -> float:
        return (self.best + self.worst) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A whole game. The last four are the competition's and can be changed like everything else."""

    epochs: int = 200
    miners: Miners = field(default_factory=Miners)
    validators: Validators = field(default_factory=Validators)
    data: Data = field(default_factory=Data)
    noise: NoiseModel = field(default_factory=NoiseModel)
    scoring: Scoring = field(default_factory=Scoring)
    queue: Queue = field(default_factory=Queue)
    overlap: Overlap = field(default_factory=Overlap)
    sealed: SealedSet | None = None

    @property
    def competition(self) -> Competition:
        return Competition(scoring=self.scoring, queue=self.queue, overlap=self.overlap, sealed=self.sealed)

    def by(self, rules: Competition) -> "Scenario":
        """The same game under other rules."""
        return dataclasses.replace(
            self, scoring=rules.scoring, queue=rules.queue, overlap=rules.overlap, sealed=rules.sealed
        )

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "a game has at least one epoch")

    def resized(self, *, epochs: int | None, miners: int | None, validators: int | None) -> "Scenario":
        """The same with other numbers; the honest make up the difference. None keeps a number."""
        return dataclasses.replace(
            self,
            epochs=self.epochs if epochs is None else epochs,
            miners=self.miners if miners is None else dataclasses.replace(self.miners, total=miners),
            validators=self.validators
            if validators is None
            else dataclasses.replace(self.validators, total=validators),
        )


def _require_an_honest_one(what: str, total: int, honest: int) -> None:
    others = total - honest
    require(
        honest >= 1,
        f"{others} of the {what} follow other strategies, and a total of {total} leaves no honest one",
        remedy=f"Give at least {others + 1} {what}, or fewer of the others.",
    )


_NO_CHEATS = Miners(
    exact_copiers=0, disguised_copiers=0, sybils=0, contaminators=0, spammers=0, sleepers=0, newcomers=1
)
_ALL_HONEST = Validators(total=3, weight_copiers=0, dishonest=0, flaky=0)

PRESETS = {
    "mixed": Scenario(),
    "honest": Scenario(miners=_NO_CHEATS, validators=_ALL_HONEST),
    "copiers": Scenario(
        miners=dataclasses.replace(_NO_CHEATS, exact_copiers=16, disguised_copiers=16), validators=_ALL_HONEST
    ),
    "validators": Scenario(miners=_NO_CHEATS),
    "undetected": Scenario(
        miners=dataclasses.replace(_NO_CHEATS, disguised_copiers=4),
        validators=_ALL_HONEST,
        data=Data(copy_recall=0.0),
    ),
}


_SLOW = dataclasses.replace(_ALL_HONEST, capacity=21_760_000)  # 8.5 datasets of 10,000 rows
_SEALED = SealedSet(repo="owner/sealed", commit="0" * 40, sha256="0" * 64, weight=0.5)
_PARAPHRASED = Data(contaminated=-0.3, contamination_recall=0.0)


def _against_honest(
    validators: Validators = _ALL_HONEST, data: Data | None = None, **miners: int
) -> Scenario:
    """The given cheats, ``miners``, among honest miners."""
    players = dataclasses.replace(_NO_CHEATS, **{"newcomers": 0, **miners})
    return Scenario(miners=players, validators=validators, data=data or Data())


PRESETS |= {
    "slow": _against_honest(_SLOW, total=256, newcomers=1),
    "token-sybils": _against_honest(_SLOW, Data(newcomer_tokens=256_000), total=256, large=200, newcomers=1),
    "sleeper": _against_honest(swappers=1),
    "sleeper-slow": _against_honest(_SLOW, swappers=1),
    "one-ahead": _against_honest(independents=1),
    "four-ahead": _against_honest(independents=4),
    "twenty-ahead": _against_honest(independents=20),
    "evaluation-trainer": _against_honest(data=_PARAPHRASED, contaminators=3),
    "evaluation-trainer-sealed": dataclasses.replace(
        _against_honest(data=_PARAPHRASED, contaminators=3), sealed=_SEALED
    ),
    "launderer": _against_honest(launderers=5),
    "format-squatter": _against_honest(format_squatters=1),
    "public-squatter": _against_honest(public_squatters=1),
    "public-squatter-listed": _against_honest(data=Data(listed=True), public_squatters=1),
    "update-thief": _against_honest(update_thieves=1),
    "row-copier": _against_honest(row_copiers=1),
}


def load_scenario(name: str) -> Scenario:
    """A preset, or the scenario in the TOML file ``name``, whose tables and keys are these classes' fields.

    Raises UsageError for a name that is neither, and for a file that is not a scenario.
    """
    if name in PRESETS:
        return PRESETS[name]
    text = hand_written(Path(name))
    if text is None:
        raise UsageError(
            f"There is no scenario {name!r}.", remedy=f"Give a TOML file, or one of: {', '.join(PRESETS)}."
        )
    return from_table(Scenario, toml_table(text, name), name)
