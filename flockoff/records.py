"""The small frozen records that pass between packages."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from flockoff.errors import FaultKind, MinerFault, Reason

MAX_COMMITMENT_BYTES = 128
PUBLIC_HUB = "https://huggingface.co"
U16_MAX = 65535  # the largest weight, as the chain stores it
# The Hub's rule: word characters, '-' and '.'; neither of these at an end or doubled; at most 96 characters.
_PART = r"\w(?:\w|-(?!-)|\.(?!\.))*(?<![-.])"
_REPO_ID = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_COMMIT_AGAIN = "Commit again, with neurons/miner.py or flockoff submit."
_COMPETITION_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")


def is_repo_id(text: str) -> bool:
    """Whether ``text`` is a full Hub repo id, ``owner/name``."""
    return len(text) <= 96 and _REPO_ID.fullmatch(text) is not None and not text.endswith(".git")


def is_commit(text: str) -> bool:
    """Whether ``text`` is a full commit hash, 40 lower-case hex digits: a branch or a tag can move."""
    return _COMMIT.fullmatch(text) is not None


def is_competition_id(text: str) -> bool:
    """Whether ``text`` can name a competition: 1 to 32 letters, digits, '.', '_' or '-'."""
    return _COMPETITION_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ModelId:
    """What a miner commits on chain: ``namespace:competition_id:commit``, at most 128 bytes of UTF-8.

    Raises MinerFault (``COMMITMENT_MALFORMED``) if a part is invalid.
    """

    namespace: str  # Hub dataset repo id
    competition_id: str
    commit: str

    def __post_init__(self) -> None:
        problem = None
        if not is_repo_id(self.namespace):
            problem = f"{self.namespace!r} is not a dataset repo id of the form owner/name"
        elif not is_competition_id(self.competition_id):
            problem = f"{self.competition_id!r} is not a competition id"
        elif not is_commit(self.commit):
            problem = f"{self.commit!r} is not a full commit hash of 40 hex digits"
        elif len(str(self).encode()) > MAX_COMMITMENT_BYTES:
            problem = f"{self} is longer than the {MAX_COMMITMENT_BYTES} bytes that the chain stores"
        if problem:
            raise MinerFault(
                Reason.COMMITMENT_MALFORMED, f"Malformed commitment: {problem}.", remedy=_COMMIT_AGAIN
            )

    def __str__(self) -> str:
        return f"{self.namespace}:{self.competition_id}:{self.commit}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of ``str``. Raises MinerFault (``COMMITMENT_MALFORMED``)."""
        parts = text.split(":")
        if len(parts) != 3:
            raise MinerFault(
                Reason.COMMITMENT_MALFORMED,
                f"Malformed commitment: {text[:MAX_COMMITMENT_BYTES]!r} is not namespace:competition:commit.",
                remedy=_COMMIT_AGAIN,
            )
        return cls(*parts)


# --- what the chain says ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RawCommitment:
    """A hotkey's text on chain now, unchecked, and the block of its last update."""

    hotkey: str
    text: str
    block: int


@dataclass(frozen=True, slots=True)
class Commitment:
    """A well-formed ModelId on chain, with the block it was first made in."""

    hotkey: str
    uid: int
    model_id: ModelId
    block: int


@dataclass(frozen=True, slots=True)
class Neuron:
    uid: int
    hotkey: str
    coldkey: str
    stake: float  # TAO and alpha as the subnet counts them
    validator_permit: bool
    last_update: int  # block of its last weights
    consensus: float  # 0..1
    incentive: float  # 0..1
    dividends: float  # 0..1


@dataclass(frozen=True, slots=True)
class SubnetSnapshot:
    """A subnet and its commitments, all read at one block."""

    netuid: int
    block: int
    owner_hotkey: str
    neurons: tuple[Neuron, ...]  # in order of uid
    commitments: Mapping[str, RawCommitment]  # by hotkey; only registered hotkeys, only readable text
    owner_coldkey: str = ""
    min_allowed_weights: int = 0  # the chain refuses fewer positive weights than this
    stake_threshold: float = 0.0  # the chain accepts no weights from less stake, except the owner's

    def neuron(self, hotkey: str) -> Neuron | None:
        """The neuron registered under ``hotkey``, or None."""
        return next((neuron for neuron in self.neurons if neuron.hotkey == hotkey), None)

    def counts(self, hotkey: str) -> bool:
        """Whether the chain would accept weights from ``hotkey`` now, and count them."""
        neuron = self.neuron(hotkey)
        if neuron is None or not neuron.validator_permit:
            return False
        return hotkey == self.owner_hotkey or neuron.stake >= self.stake_threshold

    @property
    def burn_uid(self) -> int | None:
        """The subnet owner's uid, whose incentive the chain burns; None if the owner holds none.

        The chain burns the incentive of all hotkeys of the owner's coldkey; the owner's own hotkey is
        preferred.
        """
        named = [neuron.uid for neuron in self.neurons if neuron.hotkey == self.owner_hotkey]
        owned = [neuron.uid for neuron in self.neurons if neuron.coldkey == self.owner_coldkey]
        return next(iter(named + owned), None)


@dataclass(frozen=True, slots=True)
class ChainWeights:
    """One hotkey's weights as the chain holds them, read at ``block``."""

    block: int
    values: Mapping[int, int]  # by uid, 0..65535, the largest 65535 when set; empty: none
    sealed: tuple[int, ...] = ()  # blocks of the hotkey's unrevealed weights, in order

    def are(self, sent: Mapping[int, float], *, gone: Collection[int] = ()) -> bool:
        """Whether these are the weights ``sent`` (non-negative, of any positive sum), up to the chain's
        rounding. ``gone``: uids that went to another hotkey since, on which the chain dropped all weights.
        """
        largest = max(sent.values())
        return all(
            abs(sent.get(uid, 0.0) / largest * U16_MAX - self.values.get(uid, 0)) <= 1
            for uid in (sent.keys() | self.values.keys()) - set(gone)
        )


@dataclass(frozen=True, slots=True)
class EpochStatus:
    """The subnet's position in its epoch, read at ``block``."""

    block: int
    start_block: int  # first block of the running epoch
    next_start_block: int  # first block of the next one
    seconds_per_block: float  # as declared by the chain

    @property
    def blocks_left(self) -> int:
        return max(0, self.next_start_block - self.block)


@dataclass(frozen=True, slots=True)
class SubnetTerms:
    """What a subnet pays and asks for, as the chain states it. Amounts in TAO or in the subnet's alpha."""

    name: str  # as its owner wrote it: text from outside
    alpha_price: float  # TAO for one alpha, by the pool and for next to nothing of it
    alpha_per_block: float  # paid out on the subnet, before the owner's cut
    owner_cut: float  # 0..1, of that
    pool_tao: float
    pool_alpha: float
    registration_cost: float  # TAO
    registration_open: bool
    immunity_blocks: int  # a new hotkey is not replaced for so long
    max_uids: int
    max_validators: int
    tempo: int  # blocks
    weights_rate_limit: int  # blocks
    weights_version_key: int  # the chain takes no weights under a lower one, and keeps nobody's
    activity_cutoff: int  # whose last weights are so many blocks old counts no more
    commit_reveal: bool


@dataclass(frozen=True, slots=True)
class SubnetView:
    """All that the chain tells everybody of a subnet, read at one block."""

    snapshot: SubnetSnapshot
    epoch: EpochStatus
    terms: SubnetTerms
    weights: Mapping[int, Mapping[int, float]]  # by validator's uid and target's; a row sums to 1
    trust: Mapping[int, float]  # validator trust by uid, 0..1
    emission: Mapping[int, float]  # alpha that each uid was due in the last epoch
    made_at: float  # the block's time, UTC seconds


@dataclass(frozen=True, slots=True)
class Epoch:
    """``start_block`` names the epoch; ``end_block`` is the first block of the next one."""

    start_block: int
    end_block: int
    seed: int  # shared by all validators

    @property
    def blocks(self) -> int:
        return self.end_block - self.start_block


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a submission landed. ``block`` is None if the chain does not say."""

    extrinsic: str  # block and index, such as 24-0001; "" if unknown
    block: int | None


# --- what the hub says -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HubAccount:
    name: str
    can_write: bool
    owners: frozenset[str]  # whose repos it can write to: its own name and organisations
    readable: frozenset[str] = frozenset()  # organisations in which it may only read


@dataclass(frozen=True, slots=True)
class RepoState:
    """A dataset repo as its owner sees it. ``repo_id`` is in the hub's own spelling."""

    repo_id: str
    private: bool
    head: str  # commit of the main branch


@dataclass(frozen=True, slots=True)
class Upload:
    """``commit`` of ``repo_id`` (in the hub's spelling) holds the content. ``changed`` is False if the repo's
    head already had it.
    """

    repo_id: str
    commit: str
    changed: bool


# --- datasets --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation: turns alternate, start with the user and end with the assistant."""

    system: str | None
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row under the chat template, cut at the context.

    ``input_ids``: (n_tokens,). ``assistant``: (n_tokens,), True where the token is an assistant's and its
    prediction counts in the loss. ``cut_at``: for a row longer than the context, the number of characters of
    its rendered text before the first token cut off; else None.
    """

    input_ids: tuple[int, ...]
    assistant: tuple[bool, ...]
    cut_at: int | None = None


@dataclass(frozen=True, slots=True)
class RowProblem:
    line: int  # 1-based line of the file; 0 for the file as a whole
    reason: Reason
    detail: str  # printable: control characters escaped, length bounded


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """The result of checking a dataset. ``content_hash`` is None for an invalid one."""

    rows: int
    bytes: int
    tokens: int  # after template and truncation
    assistant_tokens: int
    cut_rows: int  # rows longer than the context
    content_hash: str | None
    problems: tuple[RowProblem, ...] = ()  # the first 20
    problem_count: int = 0
    repeated_rows: int = 0  # equal in content to an earlier row
    lengths: tuple[int, ...] = ()  # i-th: rows of at most 2**i tokens and more than 2**(i - 1)
    cut_lines: tuple[int, ...] = ()  # the first 20 lines that are cut

    @property
    def valid(self) -> bool:
        return self.problem_count == 0


# --- evaluations -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Precision:
    """Number formats and passes of a training, which decide the last digits of a loss."""

    weights: str  # the base model's in memory, by torch's name: "float32", "bfloat16"
    compute: str  # that of the training's matrix products; all else, and all of measuring, is float32
    pass_tokens: int  # at most, of a pass that keeps its activations; 0: each row alone, recomputed
    fused: tuple[str, ...] = ()  # a card's own kernels that took part

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """From its ``asdict``, as JSON gives it back."""
        return cls(**{**table, "fused": tuple(table["fused"])})

    def __str__(self) -> str:
        passes = f"passes of {self.pass_tokens} tokens" if self.pass_tokens else "rows alone, recomputed"
        fused = f", fused {' and '.join(self.fused)}" if self.fused else ""
        return f"weights {self.weights}, training {self.compute} ({passes}{fused}), evaluation float32"


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """What computed a measurement. Another kind changes a loss's last digits; other threads do not."""

    kind: str  # "cpu x86_64 AVX512", "cuda NVIDIA GeForce RTX 4090"
    threads: int | None = None  # of a CPU

    def __str__(self) -> str:
        return self.kind if self.threads is None else f"{self.kind} ({self.threads} threads)"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything needed to reproduce a measurement."""

    code_version: str
    libraries: Mapping[str, str]  # name -> version: torch, transformers, peft, trl, tokenizers, python
    device: ComputeDevice
    precision: Precision
    base_model: str  # repo@revision, or package:file@sha256
    evaluation_set: str  # SHA-256 of the file, how many rows of it if not all, and the sealed set's
    seed: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """One dataset (or the base model alone: no training) under one seed."""

    loss: float  # nats per assistant token of the evaluation set
    eval_tokens: int  # assistant tokens of the evaluation set
    train_rows: int
    train_tokens: int  # tokens per pass over the dataset
    steps: int  # optimizer steps
    seconds: float
    provenance: Provenance
    row_nll: tuple[float, ...] = ()  # nats: each evaluation row's, summed over its assistant tokens
    sealed_loss: float | None = None  # of the competition's sealed evaluation set, where it has one

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """From its ``asdict``, as JSON gives it back. Raises KeyError or TypeError for any other table."""
        made = table["provenance"]
        device, precision = ComputeDevice(**made["device"]), Precision.from_table(made["precision"])
        provenance = Provenance(**{**made, "device": device, "precision": precision})
        return cls(**{**table, "provenance": provenance, "row_nll": tuple(table["row_nll"])})


@dataclass(frozen=True, slots=True)
class Influence:
    """What each row of a dataset does for the evaluation loss, at the end of the training on it.

    ``rows``: (n_rows,), in canonical order. Divided by the row's assistant tokens: 1 where learning it helps
    as learning the evaluation set itself would, 0 where it does nothing, negative where it harms.
    """

    rows: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """An evaluation's progress; ``loss`` is the last step's training loss, if any."""

    phase: Literal["loading", "training", "evaluating"]
    done: int
    total: int
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A measurement of a hotkey's dataset. ``epoch`` is the epoch's start block. ``left_out``: the 1-based
    lines of ``data.jsonl`` not trained on, in order.
    """

    epoch: int
    hotkey: str
    model_id: ModelId
    content_hash: str
    measurement: Measurement
    left_out: tuple[int, ...] = ()


# Faults after which a dataset is set aside for the epoch.
SET_ASIDE = frozenset({FaultKind.EVALUATION, FaultKind.TOO_SLOW})

Standing = Literal["eligible", "at_fault", "not_evaluated"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An epoch's verdict on one hotkey's dataset, with a reason its miner can act on.

    "eligible": measured and competing. "at_fault": the miner's fault, ``reason`` says which.
    "not_evaluated": nobody's fault or somebody else's; costs the miner nothing.
    """

    epoch: int
    hotkey: str
    uid: int
    model_id: str  # as committed; may be malformed
    block: int  # first commitment of this content, as far as is known
    standing: Standing
    reason: Reason | None
    detail: str
    content_hash: str | None = None
    loss: float | None = None  # nats per assistant token
    fault: FaultKind | None = None  # of "not_evaluated": what failed
    copied: tuple[str, ...] = ()  # the hotkeys that a copy was copied from

    @property
    def set_aside(self) -> bool:
        """Whether the worker failed on the dataset, so that it is not retried in this epoch."""
        return self.fault in SET_ASIDE


@dataclass(frozen=True, slots=True)
class WeightsSet:
    """Weights as submitted: normalised, by hotkey."""

    epoch: int
    block: int | None
    extrinsic: str
    weights: Mapping[str, float] = field(default_factory=dict)
