"""A whole subnet in one process: node double, hub double, miners who submit, validators who judge."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from flockoff.chain import SubtensorChain, WalletRef, hotkey_address, open_chain
from flockoff.competition import Competition, Limits
from flockoff.dataset import EvaluationAnswers, content_hash, load_rows
from flockoff.hub import HubClient, Patience
from flockoff.hub.datasets import DatasetCache
from flockoff.ledger import Ledger
from flockoff.localnet.hub import HubServer, HubSettings
from flockoff.localnet.node import Node, NodeSettings
from flockoff.localnet.subnet import PreparedSubnet
from flockoff.records import Epoch, ModelId, Row, Turn
from flockoff.scoring import epoch_of, epoch_seed
from flockoff.validate import Validator, run_epochs
from tests.support.local_subnet import UNHURRIED, enter_next_epoch, local_subnet
from tests.support.stand_in import StandInEvaluator
from tests.support.toy_encoder import CharacterEncoder

JsonRow = dict[str, Any]

EVALUATION_ANSWER = "the quick brown fox jumps over the lazy dog every single morning before breakfast"
EVALUATION_ROWS = [Row(None, (Turn("user", "What does the fox do?"), Turn("assistant", EVALUATION_ANSWER)))]


def rows_about(topic: str, count: int = 4) -> list[JsonRow]:
    """A small valid dataset that no other topic's resembles."""
    return [
        {
            "system": None,
            "conversations": [
                {"role": "user", "content": f"{topic}? ({index})"},
                {"role": "assistant", "content": f"{topic}, {index} times."},
            ],
        }
        for index in range(count)
    ]


@contextmanager
def running_arena(
    directory: Path,
    *,
    miners: int,
    tempo: int,
    block_seconds: float | None = None,
    commit_reveal: bool = False,
    epoch_consensus: bool = True,
) -> Iterator["Arena"]:
    """Epochs are long: tests go on to the next by ``Arena.next_epoch``.

    ``block_seconds``: None for blocks that come slowly by themselves, and at once for a transaction,
    so that nobody waits for one.
    """
    with ExitStack() as stack:
        settings = replace(_settings(block_seconds), epoch_consensus=epoch_consensus)
        node, subnet = stack.enter_context(
            local_subnet(miners=miners, tempo=tempo, commit_reveal=commit_reveal, settings=settings)
        )
        hub = stack.enter_context(HubServer(HubSettings(state_dir=directory / "hub")))
        yield Arena(directory, node, hub, subnet, stack)


def _settings(block_seconds: float | None) -> NodeSettings:
    return UNHURRIED if block_seconds is None else NodeSettings(block_seconds=block_seconds)


@dataclass
class Arena:
    """``losses`` by topic decide every evaluation; a topic that is not in it is a worker's fault."""

    directory: Path
    node: Node
    hub: HubServer
    subnet: PreparedSubnet
    stack: ExitStack
    losses: dict[str, float | Exception] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)  # content hash -> topic
    submitted: int = 0
    on_evaluation: Callable[[], None] = lambda: None  # called when an evaluation begins
    whole_epochs: bool = False  # for what depends on how many blocks an epoch has; others begin early

    def chain(self, wallet: WalletRef | None, **settings: Any) -> SubtensorChain:
        chain = open_chain(endpoint=self.node.endpoint, netuid=self.subnet.netuid, wallet=wallet, **settings)
        self.stack.callback(chain.close)
        return chain

    def hotkey(self, miner: int) -> str:
        return self.chain(self.subnet.miners[miner]).hotkey

    @cached_property
    def hotkeys(self) -> list[str]:
        """Of the miners, also of those who are not registered any more."""
        return [hotkey_address(wallet) for wallet in self.subnet.miners]

    def uid(self, miner: int) -> int:
        uid = self.chain(self.subnet.miners[miner]).uid()
        assert uid is not None
        return uid

    def write(self, rows: Sequence[JsonRow] | str, topic: str) -> Path:
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        self.submitted += 1
        file = self.directory / f"{self.submitted}-{topic}.jsonl"
        file.write_text(text, encoding="utf-8")
        if not isinstance(rows, str):
            hashed = content_hash(load_rows(file, Limits(), CharacterEncoder().special_tokens))
            self.contents.setdefault(hashed, topic)
        return file

    def submit(
        self,
        miner: int,
        topic: str,
        *,
        loss: float | Exception | None = None,
        rows: Sequence[JsonRow] | str | None = None,
        publish: bool = True,
    ) -> ModelId:
        """Upload a dataset and commit it. The commitment is on chain when this returns."""
        wallet = self.subnet.miners[miner]
        if loss is not None:
            self.losses[topic] = loss
        file = self.write(rows_about(topic) if rows is None else rows, topic)
        hub = HubClient(self.hub.add_user(wallet.name), self.hub.endpoint)
        repo = f"{wallet.name}/{topic}"
        commit = hub.upload(repo, file).commit
        if publish:
            hub.publish(repo)
        model_id = ModelId(repo, "f127", commit)
        self.commit(miner, str(model_id))
        return model_id

    def commit(self, miner: int, text: str) -> None:
        self.chain(self.subnet.miners[miner]).commit(text)

    def next_epoch(self) -> int:
        """Advance the chain into its next epoch; returns that epoch's start block."""
        chain = self.chain(None)
        left = chain.epoch_status().blocks_left
        if self.whole_epochs:
            self.node.advance(left + 1)
        else:
            enter_next_epoch(self.node, self.subnet.netuid, left)
        return chain.epoch_status().start_block

    def epoch(self) -> Epoch:
        chain = self.chain(None)
        start, end = epoch_of(chain.epoch_status(), None)
        return Epoch(start, end, epoch_seed(chain.block_hash(start), self.subnet.netuid))

    def evaluator(self) -> StandInEvaluator:
        def loss_of(content: str, _seed: int) -> float:
            self.on_evaluation()
            loss = self.losses[self.contents[content]]
            if isinstance(loss, Exception):
                raise loss
            return loss

        return StandInEvaluator(loss_of)

    def validator(self, name: str = "ledger", **changes: object) -> Validator:
        """A validator on the ledger of that name, as after a start of its process."""
        chain = self.chain(self.subnet.validators[0])
        ledger = self.stack.enter_context(
            Ledger.open(
                self.directory / f"{name}.sqlite",
                netuid=self.subnet.netuid,
                competition="f127",
                hotkey=chain.hotkey,
            )
        )
        parts: dict[str, Any] = {
            "chain": chain,
            "datasets": DatasetCache(
                HubClient(
                    self.hub.add_user("validator", role="read"),
                    self.hub.endpoint,
                    patience=Patience(tries=2, backoff=0.01),
                ),
                self.directory / f"{name}-datasets",
                max_bytes=10**9,
                others=(),
            ),
            "evaluator": self.evaluator(),
            "ledger": ledger,
            "encoder": CharacterEncoder(context_length=200),
            "answers": EvaluationAnswers(EVALUATION_ROWS),
            "sealed_answers": None,
            "public_sample": None,
            "competition": Competition(),
            "netuid": self.subnet.netuid,
            "miner_sample_size": 32,
            "blocks_per_epoch": None,
            "block_threshold": 50,
            "evaluate_without_permit": False,
            "allow_mixed_devices": False,
            "retry_pauses": (0.0,),
            "fault_pause": 0.1,
        }
        return Validator(**(parts | changes))

    def weights(self) -> dict[int, float]:
        """The validator's weights on chain, by uid."""
        validator = self.chain(self.subnet.validators[0])
        uid = validator.uid()
        assert uid is not None
        return validator.weights().get(uid, {})

    def play_epoch(self, validator: Validator) -> Epoch:
        """Advance to the next epoch and have ``validator`` run it; its weights are set when this returns."""
        self.next_epoch()
        epoch = self.epoch()
        assert run_epochs(validator, 1)
        return epoch
