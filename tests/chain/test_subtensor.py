"""The chain adapter against a chain: the node double, or a real local Subtensor."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from flockoff.chain import SubtensorChain, WalletRef
from flockoff.chain.connection import Access, Connection
from flockoff.errors import (
    ChainCooldown,
    ChainFatal,
    ChainTransient,
    NoFunds,
    NotRegistered,
    SetupError,
)
from flockoff.localnet.subnet import PreparedSubnet, SubnetPlan
from flockoff.records import MAX_COMMITMENT_BYTES, U16_MAX, Receipt

OpenChain = Callable[..., SubtensorChain]

MODEL_ID = f"miner/my-dataset:f127:{'0123456789' * 4}"


def when_allowed(chain: SubtensorChain, submit: Callable[[], Receipt]) -> Receipt:
    """Submit weights, waiting out the rate limit that earlier tests or registration left."""
    for _ in range(3):
        try:
            return submit()
        except ChainCooldown as cooldown:
            assert cooldown.blocks_left is not None
            assert chain.wait_for_block(chain.block() + cooldown.blocks_left, timeout=300)
    raise AssertionError("the rate limit never ended")


# --- reading ---------------------------------------------------------------------------------------------


def test_prepare_subnet_neurons_are_registered_staked_and_permitted(
    subnet: PreparedSubnet, opened: OpenChain
) -> None:
    snapshot = opened().snapshot()

    hotkeys = {neuron.hotkey: neuron for neuron in snapshot.neurons}
    validator = hotkeys[opened(subnet.validators[0]).hotkey]
    assert len(snapshot.neurons) == 1 + len(subnet.miners) + len(subnet.validators)
    assert snapshot.owner_hotkey == opened(subnet.owner).hotkey
    assert validator.validator_permit
    assert validator.stake > 100
    for miner in subnet.miners:
        assert not hotkeys[opened(miner).hotkey].validator_permit


def test_view_is_the_snapshot_with_terms_and_weights(subnet: PreparedSubnet, opened: OpenChain) -> None:
    view = opened().view()
    assert view.snapshot.block == view.epoch.block
    assert [neuron.uid for neuron in view.snapshot.neurons] == list(range(len(view.snapshot.neurons)))
    assert view.snapshot.owner_hotkey == opened(subnet.owner).hotkey
    assert view.terms.alpha_price > 0 and view.terms.tempo > 0 and 0 <= view.terms.owner_cut < 1
    assert view.terms.registration_cost > 0 and view.terms.max_uids >= len(view.snapshot.neurons)
    assert all(sum(row.values()) == pytest.approx(1) for row in view.weights.values())
    assert abs(view.made_at - time.time()) < 3600


def test_snapshot_neurons_are_in_order_of_uid_at_one_block(opened: OpenChain) -> None:
    chain = opened()
    before = chain.block()
    snapshot = chain.snapshot()

    assert [neuron.uid for neuron in snapshot.neurons] == list(range(len(snapshot.neurons)))
    assert before <= snapshot.block <= chain.block()


def test_snapshot_of_a_past_block_shows_what_was_there_then(
    subnet: PreparedSubnet, opened: OpenChain
) -> None:
    chain = opened(subnet.miners[0])
    chain.commit("then")
    past = chain.block()
    chain.commit("now")

    snapshot = chain.snapshot(past)

    assert snapshot.block == past
    assert snapshot.commitments[chain.hotkey].text == "then"


def test_uid_of_wallet_matches_the_snapshot(subnet: PreparedSubnet, opened: OpenChain) -> None:
    chain = opened(subnet.miners[1])
    uid = chain.uid()

    assert uid is not None
    assert chain.snapshot().neurons[uid].hotkey == chain.hotkey


def test_epoch_status_spans_one_tempo_around_its_block(plan: SubnetPlan, opened: OpenChain) -> None:
    status = opened().epoch_status()

    assert status.start_block <= status.block <= status.next_start_block
    assert status.next_start_block - status.start_block == plan.tempo
    assert 0 < status.seconds_per_block <= 12


def test_epoch_status_after_the_epoch_starts_where_it_was_announced(opened: OpenChain) -> None:
    chain = opened()
    announced = chain.epoch_status().next_start_block

    assert chain.wait_for_block(announced + 1, timeout=300)
    assert chain.epoch_status().start_block == announced


def test_block_hash_is_32_bytes_and_stays(opened: OpenChain) -> None:
    chain = opened()
    block = chain.block()

    first, again, before = chain.block_hash(block), opened().block_hash(block), chain.block_hash(block - 1)

    assert len(first) == 32
    assert first == again
    assert first != before


def test_block_hash_of_a_block_to_come_is_transient(opened: OpenChain) -> None:
    chain = opened()

    with pytest.raises(ChainTransient, match="does not exist yet"):
        chain.block_hash(chain.block() + 1000)


def test_wait_for_block_reached_is_true_in_time(opened: OpenChain) -> None:
    chain = opened()
    target = chain.block() + 3

    assert chain.wait_for_block(target, timeout=300)
    assert chain.block() >= target
    assert chain.wait_for_block(target - 1, timeout=0)


def test_wait_for_block_too_far_is_false_after_the_timeout(opened: OpenChain) -> None:
    chain = opened()
    far = chain.block() + 100_000
    started = time.monotonic()

    assert not chain.wait_for_block(far, timeout=0.1)
    assert not chain.wait_for_block(far, timeout=0)
    assert time.monotonic() - started < 60


def test_balance_is_what_the_coldkey_was_given(subnet: PreparedSubnet, opened: OpenChain) -> None:
    assert 0 < opened(subnet.miners[0]).balance() <= 200


def test_read_only_chain_reads_but_does_not_sign(opened: OpenChain) -> None:
    chain = opened(None)
    need_wallet: list[Callable[[], object]] = [
        lambda: chain.commit("a"),
        lambda: chain.set_weights({0: 1}),
        chain.balance,
    ]

    assert chain.hotkey == ""
    assert chain.uid() is None
    assert chain.commitment() is None
    assert chain.snapshot().neurons
    for signing in need_wallet:
        with pytest.raises(SetupError, match="wallet"):
            signing()


def test_missing_subnet_is_fatal_with_a_remedy(subnet: PreparedSubnet, opened: OpenChain) -> None:
    chain = opened(subnet.miners[0], netuid=4000)

    for read in (chain.snapshot, chain.epoch_status, chain.uid, chain.require_uid):
        with pytest.raises(ChainFatal, match="no subnet 4000") as caught:
            read()
        assert "--netuid" in caught.value.remedy


# --- commitments -----------------------------------------------------------------------------------------


def test_commit_is_read_back_alone_and_in_the_snapshot(subnet: PreparedSubnet, opened: OpenChain) -> None:
    chain = opened(subnet.miners[0])
    before = chain.block()

    receipt = chain.commit(MODEL_ID)

    stored = chain.commitment()
    assert stored is not None
    assert (stored.hotkey, stored.text) == (chain.hotkey, MODEL_ID)
    assert stored.block == receipt.block
    assert receipt.block is not None
    assert receipt.block > before
    assert opened().snapshot().commitments[chain.hotkey] == stored


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "\x00\x1b[2J\r\n\u202e\u200b",
        "0xzz",
        "0xabcd",
        "naïve ✓",
        "a" * 31,
        "b" * 32,
        "c" * 33,
        "d" * MAX_COMMITMENT_BYTES,
    ],
)
def test_commit_any_text_comes_back_unchanged(subnet: PreparedSubnet, opened: OpenChain, text: str) -> None:
    chain = opened(subnet.miners[1])

    chain.commit(text)

    stored = chain.commitment()
    assert stored is not None
    assert stored.text == text


def test_commit_again_replaces_the_text_and_its_block(subnet: PreparedSubnet, opened: OpenChain) -> None:
    chain = opened(subnet.miners[2])
    first = chain.commit("first")

    second = chain.commit("second")

    stored = chain.commitment()
    assert stored is not None
    assert stored.text == "second"
    assert stored.block == second.block != first.block


def test_commit_what_does_not_fit_is_fatal(subnet: PreparedSubnet, opened: OpenChain) -> None:
    with pytest.raises(ChainFatal):
        opened(subnet.miners[2]).commit("e" * (MAX_COMMITMENT_BYTES + 1))


@pytest.mark.parametrize(
    "fields",
    [
        [{"Raw4": b"\xff\xfe\x00\x01"}],
        [{"Raw0": b""}],
        [{"Sha256": b"\x01" * 32}],
        ["None"],
        [],
        [{"TimelockEncrypted": {"encrypted": b"\xff\x00" * 8, "reveal_round": 2**60}}],
        [{"TimelockEncrypted": {"encrypted": b"\x00" * 1024, "reveal_round": 1}}],
        [{"BigRaw": b"x" * 512}],
        ["ResetBondsFlag"],
        [{"Raw3": b"\xed\xa0\x80"}],
        [{"Raw1": b"\xc3"}, {"Raw1": b"("}],
    ],
    ids=[
        "binary",
        "nothing",
        "hash",
        "none",
        "empty",
        "sealed",
        "opened",
        "big",
        "flag",
        "surrogate",
        "torn",
    ],
)
def test_snapshot_unreadable_commitment_is_left_out(
    subnet: PreparedSubnet, opened: OpenChain, fields: list[object]
) -> None:
    chain = opened(subnet.miners[2])
    submit_fields(subnet, subnet.miners[2], fields)

    assert chain.commitment() is None
    assert chain.hotkey not in chain.snapshot().commitments


def submit_fields(subnet: PreparedSubnet, ref: WalletRef, fields: list[object]) -> None:
    import bittensor as bt

    call = bt.calls.Commitments.set_commitment(netuid=subnet.netuid, info={"fields": fields})
    wallet = bt.Wallet(ref.name, ref.hotkey, path=str(ref.path))
    submit(subnet.endpoint, lambda client: client.submit_call(call, wallet, signer="hotkey"))


def submit(endpoint: str, how: Callable[[Any], Any]) -> None:
    async def operation(node: Access) -> None:
        (await how(node.client)).raise_for_failure()

    connection = Connection(endpoint)
    connection.run(operation, timeout=300)
    connection.close()


def test_commit_unregistered_hotkey_is_not_registered(
    opened: OpenChain, new_wallet: Callable[[str], WalletRef], subnet: PreparedSubnet
) -> None:
    stranger = new_wallet("stranger")
    chain = opened(stranger)
    fund(subnet.endpoint, chain)

    attempts: list[Callable[[], Receipt]] = [lambda: chain.commit("x"), lambda: chain.set_weights({0: 1})]
    for attempt in attempts:
        with pytest.raises(NotRegistered) as caught:
            attempt()
        assert (
            f"--netuid {subnet.netuid} --network {subnet.endpoint} --wallet stranger" in caught.value.remedy
        )
    assert chain.uid() is None
    with pytest.raises(NotRegistered, match=chain.hotkey):
        chain.require_uid()


def fund(endpoint: str, chain: SubtensorChain) -> None:
    """Give the hotkey itself, which pays where no coldkey owns it yet, something for the fee."""
    import bittensor as bt
    from bittensor.keyfiles import Keypair

    transfer = bt.Transfer(dest_ss58=chain.hotkey, amount_tao=1)
    submit(endpoint, lambda client: client.execute(transfer, Keypair.create_from_uri("//Alice")))


def test_commit_unfunded_is_no_funds(opened: OpenChain, new_wallet: Callable[[str], WalletRef]) -> None:
    chain = opened(new_wallet("pauper"))

    with pytest.raises(NoFunds) as caught:
        chain.commit("x")
    assert "coldkey 5" in caught.value.remedy


# --- weights ---------------------------------------------------------------------------------------------


def test_set_weights_are_read_back_and_paid_after_an_epoch(subnet: PreparedSubnet, opened: OpenChain) -> None:
    chain = opened(subnet.validators[0])
    good, fair = opened(subnet.miners[0]).uid(), opened(subnet.miners[1]).uid()
    assert good is not None
    assert fair is not None

    receipt = when_allowed(chain, lambda: chain.set_weights({good: 3, fair: 1, 0: 0}))

    uid = chain.uid()
    assert uid is not None
    assert receipt.block is not None
    assert chain.weights()[uid] == pytest.approx({good: 0.75, fair: 0.25}, abs=1e-4)
    assert chain.wait_for_block(chain.epoch_status().next_start_block + 2, timeout=300)
    neurons = chain.snapshot().neurons
    assert neurons[uid].last_update == receipt.block
    assert neurons[good].incentive == pytest.approx(0.75, abs=1e-3)
    assert neurons[fair].consensus == pytest.approx(0.25, abs=1e-3)
    assert neurons[uid].dividends == pytest.approx(1, abs=1e-3)


def test_set_weights_too_soon_is_a_cooldown_with_blocks_left(
    plan: SubnetPlan, subnet: PreparedSubnet, opened: OpenChain
) -> None:
    chain = opened(subnet.validators[0])
    when_allowed(chain, lambda: chain.set_weights({0: 1}))

    with pytest.raises(ChainCooldown) as caught:
        chain.set_weights({0: 1})
    assert caught.value.blocks_left is not None
    assert 0 < caught.value.blocks_left <= plan.weights_rate_limit


def test_set_weights_without_permit_is_fatal_and_says_what_is_needed(
    subnet: PreparedSubnet, opened: OpenChain
) -> None:
    chain = opened(subnet.miners[0])

    with pytest.raises(ChainFatal) as caught:
        when_allowed(chain, lambda: chain.set_weights({0: 1}))
    assert f"Add stake to this hotkey on subnet {subnet.netuid}" in caught.value.remedy


def test_weights_on_chain_are_those_sent_and_not_others(subnet: PreparedSubnet, opened: OpenChain) -> None:
    chain = opened(subnet.validators[0])
    sent = {0: 0.125, 1: 1 / 3, 2: 0.00001}

    receipt = when_allowed(chain, lambda: chain.set_weights(sent))

    shown = chain.weights_on_chain()
    assert receipt.block is not None
    assert shown.block >= receipt.block
    assert shown.sealed == ()
    assert max(shown.values.values()) == U16_MAX
    assert shown.are(sent)
    assert shown.are({uid: 7 * weight for uid, weight in sent.items()})
    assert not shown.are({0: 0.125, 1: 1 / 3 + 0.001, 2: 0.00001})
    assert not shown.are({1: 1 / 3})
    assert shown.are({1: 1 / 3, 2: 0.00001}, gone=[0])
    assert not shown.are(sent | {3: 0.5})


def test_weights_on_chain_of_who_has_set_none_are_none(
    opened: OpenChain, subnet: PreparedSubnet, new_wallet: Callable[[str], WalletRef]
) -> None:
    for chain in (opened(subnet.miners[0]), opened(new_wallet("nobody")), opened(None)):
        assert chain.weights_on_chain().values == {}


def test_set_weights_sends_the_subnet_version_key(subnet: PreparedSubnet, opened: OpenChain) -> None:
    chain = opened(subnet.validators[0])
    set_hyperparameter(subnet, "weights_version_key", "weights_version_key", 7001)
    sent = {0: 1.0, 1: 0.25}

    when_allowed(chain, lambda: chain.set_weights(sent))

    assert chain.weights_on_chain().are(sent)


def set_hyperparameter(subnet: PreparedSubnet, name: str, argument: str, value: int) -> None:
    """As the subnet's owner."""
    import bittensor as bt

    call = getattr(bt.calls.AdminUtils, f"sudo_set_{name}")(netuid=subnet.netuid, **{argument: value})
    owner = bt.Wallet(subnet.owner.name, subnet.owner.hotkey, path=str(subnet.owner.path))
    submit(subnet.endpoint, lambda client: client.submit_call(call, owner, signer="coldkey"))


def test_snapshot_tells_what_the_chain_asks_of_weights(subnet: PreparedSubnet, opened: OpenChain) -> None:
    snapshot = opened().snapshot()
    owner = opened(subnet.owner)

    assert snapshot.counts(opened(subnet.validators[0]).hotkey)
    assert not snapshot.counts("nobody")
    for neuron in snapshot.neurons:
        assert snapshot.counts(neuron.hotkey) <= neuron.validator_permit
    assert snapshot.burn_uid == owner.uid()
    assert snapshot.min_allowed_weights >= 0
    assert snapshot.stake_threshold >= 0


@pytest.mark.parametrize("weights", [{}, {0: 0.0}, {0: float("nan")}, {0: -1.0, 1: 2.0}])
def test_set_weights_that_are_no_weights_is_fatal(
    subnet: PreparedSubnet, opened: OpenChain, weights: dict[int, float]
) -> None:
    chain = opened(subnet.validators[0])

    with pytest.raises(ChainFatal):
        when_allowed(chain, lambda: chain.set_weights(weights))
