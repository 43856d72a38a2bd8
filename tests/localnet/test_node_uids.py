"""Registration: who gets a uid, at what price, from whom, and trimmed uids."""

from typing import Any

import bittensor
import pytest

from tests.support.local_chain import (
    RAO,
    Subnet,
    add_stake,
    block_of,
    calls,
    commitment,
    error_of,
    must,
    register,
)

NEVER = 65_535  # blocks; longer than any test


def price(subnet: Subnet, block: int | None = None) -> int:
    """What a uid costs now, or did at a block's end, in rao."""
    view = subnet.client.at(subnet.node.block if block is None else block)
    return int(view.query(("SubtensorModule", "Burn"), [1]))


def neurons(subnet: Subnet) -> list[Any]:
    """The metagraph's rows."""
    return list(subnet.client.subnets.metagraph(1).neurons)


def hotkeys(subnet: Subnet) -> list[str]:
    """The hotkeys by uid."""
    return [neuron.hotkey for neuron in neurons(subnet)]


def join(subnet: Subnet, wallet_of: Any, *names: str) -> list[Any]:
    """Register wallets of these names, each by its own coldkey."""
    wallets = [wallet_of(name) for name in names]
    subnet.fund(*wallets)
    for wallet in wallets:
        must(subnet.submit(register(wallet), wallet))
    return wallets


def close(subnet: Subnet, *, immunity: int, spared: int = 0) -> None:
    """No more uids than there are; ``spared`` is the chain's MinNonImmuneUids."""
    subnet.batch_as_root(
        [
            calls.AdminUtils.sudo_set_max_allowed_uids(netuid=1, max_allowed_uids=len(neurons(subnet))),
            calls.AdminUtils.sudo_set_immunity_period(netuid=1, immunity_period=immunity),
            calls.AdminUtils.sudo_set_min_non_immune_uids(netuid=1, min=spared),
        ]
    )


# --- the price -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_price_rises_by_a_quarter_with_a_registration_and_halves_in_360_blocks(
    subnet: Subnet, wallet_of: Any
) -> None:
    paid_by = subnet.miner.coldkeypub.ss58_address
    funds = subnet.free(paid_by)

    block = block_of(must(subnet.submit(register(wallet_of("another")), subnet.miner)))

    before, after = price(subnet, block - 1), price(subnet, block)
    assert before < 1.26**2 * RAO  # two were registered before, from one TAO on
    assert funds - subnet.free(paid_by) == pytest.approx(before, rel=0.003)  # a block's decay, and the fee
    assert after == pytest.approx(1.26 * before, rel=0.003)
    subnet.node.advance(360)
    assert price(subnet, block + 360) == pytest.approx(after / 2, rel=1e-6)


@pytest.mark.slow
def test_price_stays_within_its_bounds(subnet: Subnet, wallet_of: Any) -> None:
    subnet.batch_as_root(
        [
            calls.AdminUtils.sudo_set_max_burn(netuid=1, max_burn=RAO),
            calls.AdminUtils.sudo_set_min_burn(netuid=1, min_burn=RAO // 2),
        ]
    )

    must(subnet.submit(register(wallet_of("another")), subnet.miner))

    assert price(subnet) <= RAO
    subnet.node.advance(1000)
    assert price(subnet) == RAO // 2


# --- a full subnet ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_full_subnet_gives_away_the_weakest_uid_without_immunity(subnet: Subnet, wallet_of: Any) -> None:
    subnet.next_epoch()
    must(subnet.client.execute(bittensor.SetWeights(netuid=1, weights={2: 1.0}), subnet.validator))
    join(subnet, wallet_of, "idle", "idler")
    subnet.next_epoch()
    close(subnet, immunity=0)

    [newcomer] = join(subnet, wallet_of, "newcomer")

    assert neurons(subnet)[3].hotkey == newcomer.hotkey.ss58_address


def test_full_subnet_spares_those_without_immunity_while_they_are_few(subnet: Subnet, wallet_of: Any) -> None:
    old = hotkeys(subnet)
    subnet.node.advance(200)
    join(subnet, wallet_of, "young", "younger")
    close(subnet, immunity=150, spared=2)  # uids 1 and 2 are not immune, 3 and 4 are

    [newcomer] = join(subnet, wallet_of, "newcomer")

    assert hotkeys(subnet)[:3] == old
    assert hotkeys(subnet)[3] == newcomer.hotkey.ss58_address


def test_full_subnet_of_the_immune_gives_away_the_weakest_but_never_the_owners(
    subnet: Subnet, wallet_of: Any
) -> None:
    spare = wallet_of("spare")
    must(subnet.submit(register(spare), subnet.owner))
    close(subnet, immunity=NEVER)

    [newcomer] = join(subnet, wallet_of, "newcomer")

    owners = (subnet.owner.hotkey.ss58_address, spare.hotkey.ss58_address)
    assert (hotkeys(subnet)[0], hotkeys(subnet)[3]) == owners
    assert hotkeys(subnet)[1] == newcomer.hotkey.ss58_address


@pytest.mark.slow
def test_uid_given_to_another_loses_everyones_weights_and_bonds_on_it(subnet: Subnet, wallet_of: Any) -> None:
    subnet.next_epoch()
    must(subnet.client.execute(bittensor.SetWeights(netuid=1, weights={0: 0.5, 2: 1.0}), subnet.validator))
    subnet.next_epoch()

    def row(item: str) -> dict[int, int]:
        return dict(subnet.client.query(("SubtensorModule", item), [1, 1]))

    assert row("Bonds").keys() == {0, 2}
    close(subnet, immunity=NEVER)
    [validator] = join(subnet, wallet_of, "patient")[:1]  # takes uid 2: 1 earns, 0 is the owner's
    assert hotkeys(subnet)[2] == validator.hotkey.ss58_address

    assert row("Weights") == {0: 32768, 2: 0}
    subnet.next_epoch()
    assert row("Bonds").keys() == {0}


# --- trimming ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_trim_leaves_the_strongest_and_numbers_them_anew(subnet: Subnet, wallet_of: Any) -> None:
    idle, second = join(subnet, wallet_of, "idle", "second")
    must(subnet.submit(add_stake(second, 500), second))
    subnet.next_epoch()
    weights = {0: 0.25, 2: 0.25, 4: 1.0}
    for author in (subnet.validator, second):
        must(subnet.client.execute(bittensor.SetWeights(netuid=1, weights=weights), author))
    must(subnet.submit(commitment(b"of uid 4"), second, signer="hotkey"))
    subnet.next_epoch()
    before = {neuron.hotkey: neuron for neuron in neurons(subnet)}
    subnet.batch_as_root(
        [
            calls.AdminUtils.sudo_set_immunity_period(netuid=1, immunity_period=0),
            calls.AdminUtils.sudo_set_min_allowed_uids(netuid=1, min_allowed_uids=2),
        ]
    )

    must(subnet.submit(calls.AdminUtils.sudo_trim_to_max_allowed_uids(netuid=1, max_n=4), subnet.owner))

    gone = idle.hotkey.ss58_address
    left = subnet.client.subnets.metagraph(1)
    assert [neuron.hotkey for neuron in left.neurons] == [key for key in before if key != gone]
    assert left.max_uids == 4
    for neuron in left.neurons:
        old = before[neuron.hotkey]
        for field in ("incentive", "dividends", "consensus", "last_update", "block_at_registration"):
            assert getattr(neuron, field) == getattr(old, field)
    weighed = subnet.client.weights.weights(1)
    assert weighed[1] == pytest.approx({0: 1 / 6, 2: 1 / 6, 3: 2 / 3}, abs=1e-4)
    assert weighed[3] == weighed[1]
    assert left.neurons[3].hotkey == second.hotkey.ss58_address
    assert subnet.client.subnets.metagraph(1).commitments[3].value == "of uid 4"
    assert subnet.client.neurons.uid(hotkey_ss58=gone, netuid=1) is None
    subnet.next_epoch()
    earned = before[second.hotkey.ss58_address].incentive
    assert neurons(subnet)[3].incentive == pytest.approx(earned, abs=0.01)  # stakes have moved a little


def test_trim_out_of_bounds_or_of_the_immune_is_refused(subnet: Subnet) -> None:
    def trimmed_to(uids: int) -> str:
        call = calls.AdminUtils.sudo_trim_to_max_allowed_uids(netuid=1, max_n=uids)
        return error_of(subnet.submit(call, subnet.owner))

    assert trimmed_to(2) == "InvalidValue"  # under MinAllowedUids
    must(subnet.sudo(calls.AdminUtils.sudo_set_min_allowed_uids(netuid=1, min_allowed_uids=1)))
    assert trimmed_to(257) == "InvalidValue"
    assert trimmed_to(2) == "TrimmingWouldExceedMaxImmunePercentage"
    call = calls.AdminUtils.sudo_trim_to_max_allowed_uids(netuid=1, max_n=2)
    assert error_of(subnet.submit(call, subnet.miner)) == "BadOrigin"
