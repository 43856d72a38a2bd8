"""A validator on a subnet with commit-reveal, on a runtime that lacks what only newer ones have."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import bittensor
import bittensor_core
import pytest

from flockoff.validate import Validator
from flockoff.validate.weights import check_last_weights
from tests.support.arena import Arena, running_arena
from tests.support.local_chain import Bench, close_client
from tests.support.sealed_weights import NEVER, ROUND, publish_pulse, seal, sealed_for_round


@pytest.fixture
def arena(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arena]:
    """Weights are sealed for a round of the beacon that is over, since the coming ones are not known here.

    ``indirect`` parameters give another round.
    """
    at = getattr(request, "param", ROUND)

    def sealed(
        *, uids: list[int], weights: list[int], version_key: int, hotkey: bytes, **_: object
    ) -> object:
        return sealed_for_round(hotkey, uids, weights, version_key=version_key, at=at)

    monkeypatch.setattr(bittensor_core, "get_encrypted_commit_v2", sealed)
    with running_arena(tmp_path, miners=2, tempo=200, commit_reveal=True, epoch_consensus=False) as one:
        yield one


@pytest.fixture
def bench(arena: Arena) -> Iterator[Bench]:
    client = bittensor.Subtensor(arena.node.endpoint)
    yield Bench(arena.node, client, bittensor_core.Keypair.create_from_uri("//Alice"))
    close_client(client)


def differ(validator: Validator) -> float | None:
    return validator.metrics.registry.get_sample_value("flockoff_weights_differ_total")


def sealed_blocks(arena: Arena) -> tuple[int, ...]:
    return arena.chain(arena.subnet.validators[0]).weights_on_chain().sealed


@pytest.mark.slow
def test_validator_compares_revealed_weights_with_those_it_sealed(
    arena: Arena, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.submit(1, "other", loss=1.2)
    validator = arena.validator()
    publish_pulse(bench)

    first = arena.play_epoch(validator)
    assert len(sealed_blocks(arena)) == 1
    assert arena.weights() == {}
    arena.play_epoch(validator)
    set_first = validator.ledger.weights_of_epoch(first.start_block)
    assert set_first is not None
    assert arena.weights() == pytest.approx(seen(arena, set_first.weights), abs=1e-4)
    assert differ(validator) == 0

    overwrite(arena, bench)  # waits behind the validator's own, and is revealed after it
    arena.next_epoch()
    for _ in range(2):  # reported once
        check_last_weights(validator, validator.chain.snapshot())
        assert differ(validator) == 1
    [said] = [record for record in caplog.records if "not those that were set" in record.getMessage()]
    assert said.levelno == logging.ERROR
    assert "another program" in said.getMessage()


@pytest.mark.slow
@pytest.mark.parametrize("arena", [NEVER], indirect=True)
def test_validator_finds_what_was_never_revealed_though_newer_weights_wait(
    arena: Arena, caplog: pytest.LogCaptureFixture
) -> None:
    arena.submit(0, "good", loss=1.0)
    validator = arena.validator()

    for sealed in (1, 2):  # the pulse does not come, and the first expire when the third epoch begins
        arena.play_epoch(validator)
        assert len(sealed_blocks(arena)) == sealed
        assert differ(validator) == 0
    for times in (1, 2):
        arena.play_epoch(validator)
        assert differ(validator) == times
        assert caplog.text.count("not those that were set") == times


def seen(arena: Arena, weights: Mapping[str, float]) -> dict[int, float]:
    """By uid, those that the chain does not round to zero."""
    return {
        arena.uid(arena.hotkeys.index(hotkey)): weight for hotkey, weight in weights.items() if weight > 1e-5
    }


def overwrite(arena: Arena, bench: Bench) -> None:
    """As another program with the same hotkey would: the same weights turned round."""
    ref = arena.subnet.validators[0]
    wallet = bittensor.Wallet(ref.name, ref.hotkey, path=str(ref.path))
    uids = [arena.uid(0), arena.uid(1)]
    arena.node.advance(10)
    sealed = sealed_for_round(bytes(wallet.hotkey.public_key), uids, [1, 65535])
    seal(bench, wallet, sealed, netuid=arena.subnet.netuid)
