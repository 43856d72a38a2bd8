"""Validator permits, and checking that the weights on chain are those sent."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import bittensor
import bittensor_core
import pytest

from flockoff.alerts import alerting
from flockoff.ports import Chain
from flockoff.records import ChainWeights
from flockoff.validate import Validator, run_epochs
from tests.support.arena import Arena
from tests.support.local_chain import Bench, calls, close_client, must
from tests.support.post import running_post


@pytest.fixture
def bench(arena: Arena) -> Iterator[Bench]:
    client = bittensor.Subtensor(arena.node.endpoint)
    yield Bench(arena.node, client, bittensor_core.Keypair.create_from_uri("//Alice"))
    arena.node.stop()
    close_client(client)


class OnWaiting:
    """A chain on which ``then`` is done once, before the next epoch is waited for."""

    def __init__(self, chain: Chain, then: object) -> None:
        self._chain = chain
        self._then = [then]

    def __getattr__(self, name: str) -> object:
        return getattr(self._chain, name)

    def block(self) -> int:
        if self._then:
            self._then.pop()()  # type: ignore[operator]
        return self._chain.block()


def shown(validator: Validator, name: str) -> float | None:
    return validator.metrics.registry.get_sample_value(name)


def ask_for_stake(bench: Bench, rao: int) -> None:
    must(bench.sudo(calls.AdminUtils.sudo_set_stake_threshold(min_stake=rao)))


short_epochs = pytest.mark.parametrize("arena", [80], indirect=True)


@pytest.mark.slow
@short_epochs
def test_validator_with_too_little_stake_sends_nothing_and_goes_on_once_it_has_enough(
    arena: Arena, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """One alert says so, and one that it is well again."""
    caplog.set_level(logging.INFO, "flockoff")
    arena.submit(0, "good", loss=1.0)
    ask_for_stake(bench, 10**18)
    arena.next_epoch()
    validator = arena.validator(block_threshold=20)
    first, sent = arena.epoch().start_block, arena.node.requests["author_submitAndWatchExtrinsic"]

    def heal() -> None:
        assert validator.ledger.epoch(first) is None
        assert shown(validator, "flockoff_validator_permit") == 0
        assert arena.node.requests["author_submitAndWatchExtrinsic"] == sent
        ask_for_stake(bench, 0)
        arena.whole_epochs = True  # its end is what the validator waits for
        arena.next_epoch()

    chain = OnWaiting(validator.chain, heal)
    with running_post() as post:
        with alerting((post.url,), arena.directory, name="v"):
            assert run_epochs(replace(validator, chain=chain), 1)  # type: ignore[arg-type]
        assert [title.partition(" after")[0] for title in post.titles] == [
            "v: no validator permit",
            "v: permit: well again",
        ]
    assert "less stake than required" in caplog.text
    assert shown(validator, "flockoff_validator_permit") == 1
    assert arena.weights() == {arena.uid(0): 1.0}


@pytest.mark.slow
@short_epochs
def test_validator_evaluates_without_permit_where_that_is_asked_for(arena: Arena, bench: Bench) -> None:
    arena.submit(0, "good", loss=1.0)
    ask_for_stake(bench, 10**18)
    arena.next_epoch()
    validator = arena.validator(evaluate_without_permit=True, block_threshold=20)
    epoch = arena.epoch()

    class Over(OnWaiting):
        def snapshot(self, block: int | None = None) -> object:
            """Once the epoch is closed it is over."""
            if validator.ledger.is_closed(epoch.start_block):
                arena.node.advance(epoch.end_block - arena.node.block)
            return self._chain.snapshot(block)

    assert not run_epochs(replace(validator, chain=Over(validator.chain, lambda: None)), 1)  # type: ignore[arg-type]
    assert [each.loss for each in validator.ledger.verdicts(epoch.start_block)] == [1.0]
    assert arena.weights() == {}


@pytest.mark.slow
def test_validator_burns_where_the_chain_asks_for_several_weights(arena: Arena, bench: Bench) -> None:
    least = calls.AdminUtils.sudo_set_min_allowed_weights
    must(bench.sudo(least(netuid=arena.subnet.netuid, min_allowed_weights=3)))
    validator = arena.validator()
    arena.play_epoch(validator)
    weights = arena.weights()
    assert len(weights) == 3 and weights[0] > 0.999
    must(bench.sudo(least(netuid=arena.subnet.netuid, min_allowed_weights=99)))
    arena.next_epoch()
    sent = arena.node.requests["author_submitAndWatchExtrinsic"]
    assert not run_epochs(validator, 1)
    assert arena.node.requests["author_submitAndWatchExtrinsic"] == sent


@pytest.mark.slow
def test_validator_tells_of_weights_that_are_not_those_it_sent(
    arena: Arena, caplog: pytest.LogCaptureFixture
) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.submit(1, "other", loss=1.2)
    validator = arena.validator()
    arena.play_epoch(validator)
    arena.play_epoch(validator)
    assert shown(validator, "flockoff_weights_differ_total") == 0
    # Another program with the same hotkey, that turns them round.
    other = arena.chain(arena.subnet.validators[0])
    arena.node.advance(10)
    other.set_weights({arena.uid(0): 0.1, arena.uid(1): 0.9})
    assert isinstance(other.weights_on_chain(), ChainWeights)
    arena.play_epoch(validator)
    assert shown(validator, "flockoff_weights_differ_total") == 1
    assert "not those that were set" in caplog.text
