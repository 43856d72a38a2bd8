"""``flockoff status`` of miners on a local chain."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

from flockoff.chain import WalletRef, hotkey_address
from flockoff.commands.ledgers import hotkey_among
from flockoff.competition import ORIGINAL_COMPETITION_ID
from flockoff.errors import UsageError
from flockoff.ledger import Ledger
from flockoff.openers import ledger_path
from flockoff.records import Commitment, Epoch, ModelId, Neuron
from tests.support.playground import Playground

MODEL_ID = ModelId("ann/data", ORIGINAL_COMPETITION_ID, "c" * 40)


@pytest.fixture
def status(playground: Playground, flockoff: Callable[..., Result]) -> Callable[..., Result]:
    def run(wallet: WalletRef, *more: str) -> Result:
        flags = ["--netuid", str(playground.subnet.netuid), "--chain", playground.node.endpoint]
        flags += ["--wallet-name", wallet.name, "--hotkey", wallet.hotkey, "--wallet-path", str(wallet.path)]
        return flockoff("status", *flags, *more)

    return run


def test_status_before_and_after_a_commitment(playground: Playground, status: Callable[..., Result]) -> None:
    wallet = playground.subnet.miners[0]
    assert "commitment    none" in status(wallet).stdout
    with closing(playground.chain(wallet)) as chain:
        chain.commit(str(MODEL_ID))
    done = status(wallet)
    assert f"commitment    {MODEL_ID} since block" in done.stdout
    assert "counts from block" in done.stdout
    assert "one of 1 miner: evaluated within 1 epoch at" in done.stdout
    told = json.loads(status(wallet, "--json").stdout)
    assert told["chain"]["hotkey"] == hotkey_address(wallet)
    assert (told["chain"]["commitment"], told["chain"]["problem"]) == (str(MODEL_ID), None)
    assert told["ledger"] is None  # the one in the data folder is another subnet's


@pytest.mark.slow
def test_status_of_anybody_by_uid_or_the_beginning_of_an_address(
    playground: Playground, flockoff: Callable[..., Result]
) -> None:
    flags = ["--netuid", str(playground.subnet.netuid), "--chain", playground.node.endpoint]
    address = hotkey_address(playground.subnet.miners[1])
    uid = json.loads(flockoff("status", address, *flags, "--json").stdout)["chain"]["uid"]
    for who in (str(uid), address[:12]):
        assert address in flockoff("status", who, *flags).stdout
    assert "Nobody on the subnet has the uid '999'" in flockoff("status", "999", *flags).stderr


def test_beginning_of_several_hotkeys_lists_them_by_uid() -> None:
    neurons = [
        Neuron(uid, hotkey, "cold", 0.0, False, 0, 0.0, 0.0, 0.0)
        for uid, hotkey in ((3, "5Ann"), (4, "5Anna"), (53, "5Bob"))
    ]
    with pytest.raises(UsageError, match=r"uid 3 .*, uid 4 .*Give more"):
        hotkey_among("5A", neurons)
    meant = [hotkey_among(who, neurons) for who in ("5B", "53", "053", "3")]
    assert meant == ["5Bob", "5Bob", "5Bob", "5Ann"]
    assert hotkey_among("5C", neurons, gone=["5Carl"]) == "5Carl"
    unknown = "5" + "F" * 47
    assert hotkey_among(unknown, neurons) == unknown


def test_status_of_a_malformed_commitment_says_what_is_wrong(
    playground: Playground, status: Callable[..., Result]
) -> None:
    wallet = playground.subnet.miners[1]
    with closing(playground.chain(wallet)) as chain:
        chain.commit("nonsense\x1b[2J")
    shown = status(wallet).stdout
    assert "nonsense\\x1b[2J since block" in shown
    assert "it does not count: Malformed commitment" in shown


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (None, "next          in the next epoch"),
        (10**6, "now           has place 1 of the running epoch, and no verdict yet"),
        (2, "next          in the next epoch"),  # its validator has stopped since
    ],
)
def test_status_with_a_ledger_tells_score_and_place(
    ends: int | None, told: str, playground: Playground, status: Callable[..., Result], tmp_path: Path
) -> None:
    wallet = playground.subnet.miners[0]
    path = ledger_path(tmp_path / "validator")
    committed = Commitment(hotkey_address(wallet), 1, MODEL_ID, 3)
    with Ledger.open(path, netuid=playground.subnet.netuid, competition=ORIGINAL_COMPETITION_ID) as ledger:
        ledger.record_commitments([committed])
        if ends is not None:
            ledger.begin_epoch(Epoch(1, ends, seed=0), [committed])
    shown = status(wallet, "--data-dir", str(path.parent)).stdout
    assert "evaluated     never" in shown
    assert told in shown
    assert "score         0.0000" in shown


def test_status_of_an_address_that_is_not_registered_ends_with_status_1(
    playground: Playground, flockoff: Callable[..., Result]
) -> None:
    address = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
    flags = ["--netuid", str(playground.subnet.netuid), "--chain", playground.node.endpoint]
    done = flockoff("status", *flags, "--hotkey", address)
    assert done.exit_code == 1
    assert address in done.stdout and "not registered" in done.stdout
