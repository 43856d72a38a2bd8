"""This project's assumptions about the chain, checked against the node double or ``--subtensor URL``.

``AGREED`` are 28 facts that the double has had right all along, ``MENDED`` those that it once had wrong,
numbered as in the comparison with an executed runtime; ``flockoff/localnet/node/README.md`` lists what still
differs. A fact that fails on a real node has moved: the double, and whatever builds on it, must follow. Each
fact leaves the subnet as it found it, even if it fails, so that the next one is independent of it.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bittensor
import bittensor_core
import pytest

from flockoff.chain.connection import Connection
from flockoff.localnet.subnet import SubnetPlan, prepare_subnet

RAO = 10**9
U16_MAX = 65535
TEMPO = 20
LONGEST_WAIT = 110.0  # seconds for an epoch; on a fast-blocks devnet it takes 5

calls: Any = bittensor.calls
admin: Any = calls.AdminUtils
pallet: Any = calls.SubtensorModule


@dataclass(frozen=True)
class Ground:
    """A subnet with two staked validators and three miners, and whoever signs."""

    connection: Connection
    netuid: int
    path: Path
    alice: Any
    owner: Any
    validators: tuple[Any, ...]
    miners: tuple[Any, ...]

    def ask(self, how: Callable[[Any], Awaitable[Any]], timeout: float = 120) -> Any:
        """What the SDK's client answers."""
        try:
            return self.connection.run(lambda node: how(node.client), timeout=timeout)
        except ValueError as error:  # the SDK found no such call, argument or item in the node's metadata
            pytest.fail(f"moved: {error}")

    def send(self, call: Any, by: Any, **options: Any) -> str:
        """The name of the error with which the chain or its pool refuses the call, or "ok"."""
        result = self.ask(lambda client: client.submit_call(call, by, **options))
        return "ok" if result.success else str(result.error.name)

    def root(self, *several: Any) -> str:
        """Do it as root; all or none."""
        composed = [self.compose(call) for call in several]
        batch = self.compose(calls.Utility.batch_all(calls=composed))
        return self.send(calls.Sudo.sudo(call=batch), self.alice)

    @contextmanager
    def changed(self, change: Any, *back: Any) -> Iterator[None]:
        """With ``change`` made as root; ``back`` undoes it, whatever happened meanwhile."""
        assert self.root(change) == "ok"
        try:
            yield
        finally:
            assert self.root(*back) == "ok"

    def commit_reveal(self) -> Any:
        """With commit-reveal switched on."""
        switch = admin.sudo_set_commit_reveal_weights_enabled
        return self.changed(switch(self.netuid, True), switch(self.netuid, False))

    def stake_threshold(self) -> Any:
        """With a stake threshold that nobody meets."""
        threshold = admin.sudo_set_stake_threshold
        return self.changed(threshold(10**6 * RAO), threshold(0))

    def compose(self, call: Any) -> Any:
        return self.ask(lambda client: client.compose(call))

    def read(self, item: str, *params: Any, of: str = "SubtensorModule") -> Any:
        return self.ask(lambda client: client.query((of, item), list(params)))

    def block(self) -> int:
        return int(self.ask(lambda client: client.block()))

    def epoch(self) -> Any:
        return self.ask(lambda client: client.epochs.epoch_status(self.netuid))

    def commitment(self, wallet: Any) -> Any:
        found = self.ask(lambda client: client.subnets.commitments(self.netuid))
        return found[wallet.hotkey.ss58_address]

    def uid(self, wallet: Any) -> int | None:
        uid: int | None = self.read("Uids", self.netuid, wallet.hotkey.ss58_address)
        return uid

    def weigh(self, by: Any, weights: Mapping[int, int], *, version_key: int = 0) -> str:
        """Send integer weights unchanged, in the clear."""
        return self.weigh_lists(by, list(weights), list(weights.values()), version_key=version_key)

    def weigh_lists(self, by: Any, dests: list[int], values: list[int], *, version_key: int = 0) -> str:
        call = pallet.set_weights(netuid=self.netuid, dests=dests, weights=values, version_key=version_key)
        return self.send(call, by, signer="hotkey")

    def row(self, item: str, wallet: Any) -> dict[int, int]:
        return dict(self.read(item, self.netuid, self.uid(wallet)))

    def next_epoch(self) -> int:
        """Wait until the next epoch is over; returns its block."""
        status = self.epoch()
        start: int = status["next_epoch_start_block"]
        seconds = (start - status["block"]) * self.ask(lambda client: client.block_time())
        if seconds > LONGEST_WAIT:
            pytest.skip(f"needs an epoch, which is {seconds:.0f} s away on this node: no fast blocks")
        self.ask(lambda client: client.wait_for_block(start, timeout=None), timeout=seconds + 300)
        return start

    def wallet(self, name: str) -> Any:
        """A new wallet whose coldkey has 500 TAO."""
        wallet = bittensor.Wallet(name, "default", path=str(self.path))
        wallet.create_new_coldkey(use_password=False, suppress=True)
        wallet.create_new_hotkey(suppress=True)
        to = wallet.coldkeypub.ss58_address
        assert self.send(calls.Balances.transfer_keep_alive(dest=to, value=500 * RAO), self.alice) == "ok"
        return wallet

    def register(self, wallet: Any, *, by: Any = None, netuid: int | None = None) -> str:
        target = self.netuid if netuid is None else netuid
        call = pallet.burned_register(netuid=target, hotkey=wallet.hotkey.ss58_address)
        return self.send(call, by or wallet)

    def commit(self, wallet: Any, data: bytes) -> str:
        field = {f"Raw{len(data)}": data}
        call = calls.Commitments.set_commitment(netuid=self.netuid, info={"fields": [field]})
        return self.send(call, wallet, signer="hotkey")

    def commit_sealed(self, wallet: Any, *, version: int = 4) -> str:
        call = pallet.commit_timelocked_mechanism_weights(
            netuid=self.netuid, mecid=0, commit=b"sealed", reveal_round=2**40, commit_reveal_version=version
        )
        return self.send(call, wallet, signer="hotkey")

    @property
    def validator(self) -> Any:
        return self.validators[0]

    @property
    def miner(self) -> Any:
        return self.miners[0]


@pytest.fixture(scope="module")
def ground(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    path = tmp_path_factory.mktemp("facts")
    plan = SubnetPlan(endpoint, path, miners=3, validators=2, tempo=TEMPO, weights_rate_limit=0)
    subnet = prepare_subnet(plan, on_progress=lambda _: None)
    connection = Connection(endpoint)

    def wallet(ref: Any) -> Any:
        return bittensor.Wallet(ref.name, ref.hotkey, path=str(ref.path))

    yield Ground(
        connection,
        subnet.netuid,
        path,
        bittensor_core.Keypair.create_from_uri("//Alice"),
        wallet(subnet.owner),
        tuple(wallet(ref) for ref in subnet.validators),
        tuple(wallet(ref) for ref in subnet.miners),
    )
    connection.close()


Fact = Callable[[Ground], None]


# --- what agreed: weights --------------------------------------------------------------------------------


def weights_of_a_validator_land_and_date_its_last_update(ground: Ground) -> None:
    before = ground.block()
    assert ground.weigh(ground.validator, {0: 1, 1: 4}) == "ok"
    assert ground.row("Weights", ground.validator)[1] == U16_MAX
    assert ground.read("LastUpdate", ground.netuid)[ground.uid(ground.validator)] > before


def weights_without_a_permit_are_refused(ground: Ground) -> None:
    assert ground.weigh(ground.miner, {0: 1}) == "NeuronNoValidatorPermit"


def weights_on_oneself_need_no_permit(ground: Ground) -> None:
    uid = ground.uid(ground.miner)
    assert uid is not None
    assert ground.weigh(ground.miner, {uid: 1}) == "ok"


def weights_of_the_owner_need_no_permit(ground: Ground) -> None:
    assert ground.weigh(ground.owner, {1: 1}) == "ok"


def weights_of_unequal_length_are_refused(ground: Ground) -> None:
    assert ground.weigh_lists(ground.validator, [0, 1], [1]) == "WeightVecNotEqualSize"


def weights_twice_on_one_uid_are_refused(ground: Ground) -> None:
    assert ground.weigh_lists(ground.validator, [1, 1], [1, 1]) == "DuplicateUids"


def weights_on_an_unknown_uid_are_refused(ground: Ground) -> None:
    assert ground.weigh(ground.validator, {4000: 1}) == "UidVecContainInvalidOne"


def weights_on_more_uids_than_there_are_are_refused(ground: Ground) -> None:
    n = ground.read("SubnetworkN", ground.netuid)
    assert ground.weigh(ground.validator, {uid: 1 for uid in range(n + 1)}) == "UidsLengthExceedUidsInSubNet"


def weights_fewer_than_the_least_number_are_refused_but_for_oneself(ground: Ground) -> None:
    own = ground.uid(ground.validator)
    assert own is not None
    least = admin.sudo_set_min_allowed_weights
    with ground.changed(least(ground.netuid, 3), least(ground.netuid, 1)):
        assert ground.weigh(ground.validator, {0: 1, 1: 1}) == "WeightVecLengthIsLow"
        assert ground.weigh(ground.validator, {own: 1}) == "ok"
        assert ground.weigh(ground.validator, {0: 1, 1: 1, 2: 1}) == "ok"


def weights_under_an_older_version_key_are_refused(ground: Ground) -> None:
    key = admin.sudo_set_weights_version_key
    with ground.changed(key(ground.netuid, 7), key(ground.netuid, 0)):
        assert ground.weigh(ground.validator, {1: 1}, version_key=6) == "IncorrectWeightVersionKey"
        assert ground.weigh(ground.validator, {1: 1}, version_key=7) == "ok"
        assert ground.weigh(ground.validator, {1: 1}, version_key=8) == "ok"


def weights_too_soon_are_refused_by_the_pool(ground: Ground) -> None:
    assert ground.weigh(ground.validator, {1: 1}) == "ok"
    limit = admin.sudo_set_weights_set_rate_limit
    with ground.changed(limit(ground.netuid, 60_000), limit(ground.netuid, 0)):
        assert ground.weigh(ground.validator, {1: 1}) in ("RateLimitExceeded", "SettingWeightsTooFast")


def weights_with_too_little_stake_are_refused_by_the_pool(ground: Ground) -> None:
    with ground.stake_threshold():
        assert ground.weigh(ground.validator, {1: 1}) in ("StakeAmountTooLow", "NotEnoughStakeToSetWeights")


def weights_of_an_unregistered_hotkey_are_refused(ground: Ground) -> None:
    assert ground.weigh(ground.alice, {1: 1}) == "HotKeyNotRegisteredInSubNet"


def weights_in_the_clear_are_refused_under_commit_reveal(ground: Ground) -> None:
    with ground.commit_reveal():
        assert ground.weigh(ground.validator, {1: 1}) == "CommitRevealEnabled"


def weights_sealed_are_refused_without_commit_reveal(ground: Ground) -> None:
    assert ground.commit_sealed(ground.validator) == "CommitRevealDisabled"


def weights_sealed_by_another_version_are_refused(ground: Ground) -> None:
    with ground.commit_reveal():
        assert ground.commit_sealed(ground.validator, version=3) == "IncorrectCommitRevealVersion"


def weights_sealed_wait_under_their_epoch(ground: Ground) -> None:
    with ground.commit_reveal():
        assert ground.commit_sealed(ground.validator) == "ok"
        item = ("SubtensorModule", "TimelockedWeightCommits")
        waiting = ground.ask(lambda client: client.query_map(item, [ground.netuid]))
        hotkeys = {hotkey for _epoch, queue in waiting for hotkey, *_rest in queue}
        assert ground.validator.hotkey.ss58_address in hotkeys


# --- what agreed: commitments, registration, epochs --------------------------------------------------------


def commitment_is_stored_as_it_is_with_its_block(ground: Ground) -> None:
    before = ground.block()
    assert ground.commit(ground.miner, b"a/b:f127:c") == "ok"
    stored = ground.commitment(ground.miner)
    assert stored.value == "a/b:f127:c"
    assert stored.block > before


def commitment_again_replaces_the_first(ground: Ground) -> None:
    assert ground.commit(ground.miner, b"first") == ground.commit(ground.miner, b"second") == "ok"
    stored = ground.commitment(ground.miner)
    assert stored.value == "second"


def commitment_of_an_unregistered_hotkey_is_refused(ground: Ground) -> None:
    assert ground.commit(ground.alice, b"x") == "AccountNotAllowedCommit"


def commitments_have_3100_bytes_an_epoch(ground: Ground) -> None:
    assert ground.read("MaxSpace", of="Commitments") == 3100


def registration_makes_the_coldkey_the_owner_of_the_hotkey(ground: Ground) -> None:
    owner = ground.read("Owner", ground.miner.hotkey.ss58_address)
    assert owner == ground.miner.coldkeypub.ss58_address


def registration_twice_is_refused(ground: Ground) -> None:
    assert ground.register(ground.miner) == "HotKeyAlreadyRegisteredInSubNet"


def registration_on_a_missing_subnet_is_refused(ground: Ground) -> None:
    assert ground.register(ground.miner, netuid=4000) in ("SubnetNotExists", "MechanismDoesNotExist")


def epoch_comes_a_tempo_after_the_last_and_counts_one(ground: Ground) -> None:
    first = ground.next_epoch()
    status = ground.epoch()
    assert status["next_epoch_start_block"] - status["last_epoch_block"] == TEMPO
    assert status["last_epoch_block"] >= first


def epoch_gives_permits_to_who_has_stake(ground: Ground) -> None:
    unstaked = ground.wallet("unstaked")
    assert ground.register(unstaked) == "ok"
    ground.next_epoch()
    permits = ground.read("ValidatorPermit", ground.netuid)
    assert all(permits[ground.uid(wallet)] for wallet in ground.validators)
    assert not permits[ground.uid(unstaked)]


def epoch_turns_agreed_weights_into_incentive_and_consensus(ground: Ground) -> None:
    good, fair = (ground.uid(wallet) for wallet in ground.miners[:2])
    assert good is not None
    assert fair is not None
    for validator in ground.validators:
        assert ground.weigh(validator, {good: 3, fair: 1}) == "ok"
    ground.next_epoch()
    for item in ("Incentive", "Consensus"):
        vector = ground.read(item, ground.netuid)
        assert vector[good] == pytest.approx(0.75 * U16_MAX, rel=0.02)  # others have a little stake, too
        assert vector[fair] == pytest.approx(0.25 * U16_MAX, rel=0.02)


def root_refuses_who_is_not_sudo(ground: Ground) -> None:
    inner = ground.compose(admin.sudo_set_stake_threshold(1))
    assert ground.send(calls.Sudo.sudo(call=inner), ground.owner) == "RequireSudo"


AGREED: tuple[Fact, ...] = (
    weights_of_a_validator_land_and_date_its_last_update,
    weights_without_a_permit_are_refused,
    weights_on_oneself_need_no_permit,
    weights_of_the_owner_need_no_permit,
    weights_of_unequal_length_are_refused,
    weights_twice_on_one_uid_are_refused,
    weights_on_an_unknown_uid_are_refused,
    weights_on_more_uids_than_there_are_are_refused,
    weights_fewer_than_the_least_number_are_refused_but_for_oneself,
    weights_under_an_older_version_key_are_refused,
    weights_too_soon_are_refused_by_the_pool,
    weights_with_too_little_stake_are_refused_by_the_pool,
    weights_of_an_unregistered_hotkey_are_refused,
    weights_in_the_clear_are_refused_under_commit_reveal,
    weights_sealed_are_refused_without_commit_reveal,
    weights_sealed_by_another_version_are_refused,
    weights_sealed_wait_under_their_epoch,
    commitment_is_stored_as_it_is_with_its_block,
    commitment_again_replaces_the_first,
    commitment_of_an_unregistered_hotkey_is_refused,
    commitments_have_3100_bytes_an_epoch,
    registration_makes_the_coldkey_the_owner_of_the_hotkey,
    registration_twice_is_refused,
    registration_on_a_missing_subnet_is_refused,
    epoch_comes_a_tempo_after_the_last_and_counts_one,
    epoch_gives_permits_to_who_has_stake,
    epoch_turns_agreed_weights_into_incentive_and_consensus,
    root_refuses_who_is_not_sudo,
)


# --- what the double had wrong ------------------------------------------------------------------------------


def new_subnets_run_yuma3(ground: Ground) -> None:
    assert ground.read("Yuma3On", ground.netuid)


def yuma3_bonds_are_an_average_of_weights(ground: Ground) -> None:
    good = ground.uid(ground.miner)
    assert good is not None
    for validator in ground.validators:
        assert ground.weigh(validator, {good: 1}) == "ok"
    ground.next_epoch()
    first = ground.row("Bonds", ground.validator)[good]
    ground.next_epoch()
    assert ground.row("Bonds", ground.validator)[good] == pytest.approx(0.9 * first + 0.1 * U16_MAX, abs=1)


def owner_always_has_a_permit(ground: Ground) -> None:
    assert ground.read("ValidatorPermit", ground.netuid)[ground.uid(ground.owner)]


def owner_needs_no_stake_for_weights(ground: Ground) -> None:
    with ground.stake_threshold():
        assert ground.weigh(ground.owner, {1: 1}) == "ok"


def uid_given_away_loses_weights_and_a_full_subnet_of_the_immune_gives_one(ground: Ground) -> None:
    n = ground.read("SubnetworkN", ground.netuid)
    assert ground.weigh(ground.validator, {uid: 1 for uid in range(n)}) == "ok"
    before = [ground.read("Keys", ground.netuid, uid) for uid in range(n)]
    newcomer = ground.wallet("newcomer")
    immunity = ground.read("ImmunityPeriod", ground.netuid)
    open_again = (
        admin.sudo_set_max_allowed_uids(ground.netuid, 256),
        admin.sudo_set_immunity_period(ground.netuid, immunity),
    )
    assert ground.root(admin.sudo_set_min_allowed_uids(ground.netuid, 1)) == "ok"
    assert ground.root(admin.sudo_set_immunity_period(ground.netuid, 60_000)) == "ok"
    with ground.changed(admin.sudo_set_max_allowed_uids(ground.netuid, n), *open_again):
        assert ground.register(newcomer) == "ok"
        uid = ground.uid(newcomer)
        assert uid is not None
        assert before[uid] != ground.owner.hotkey.ss58_address
        assert ground.row("Weights", ground.validator)[uid] == 0


def weights_are_scaled_to_the_nearest(ground: Ground) -> None:
    assert ground.weigh(ground.validator, {0: 1, 1: 2}) == "ok"
    assert ground.row("Weights", ground.validator) == {0: 32768, 1: U16_MAX}


def weights_of_zero_are_stored(ground: Ground) -> None:
    assert ground.weigh(ground.validator, {0: 0, 1: 2}) == "ok"
    assert ground.row("Weights", ground.validator) == {0: 0, 1: U16_MAX}


def number_of_uids_is_checked_before_registration(ground: Ground) -> None:
    n = ground.read("SubnetworkN", ground.netuid)
    assert ground.weigh(ground.alice, {uid: 1 for uid in range(n + 1)}) == "UidsLengthExceedUidsInSubNet"


def weights_have_no_upper_limit(ground: Ground) -> None:
    told = ground.ask(lambda client: client.subnets.subnet_hyperparameters(ground.netuid))
    assert told["max_weights_limit"] == U16_MAX
    assert ground.weigh(ground.validator, {0: 1, 1: U16_MAX}) == "ok"


def incentive_of_the_owners_coldkey_is_burned(ground: Ground) -> None:
    spare = bittensor.Wallet("owner", "spare", path=str(ground.path))
    spare.create_new_hotkey(suppress=True)
    assert ground.register(spare, by=ground.owner) == "ok"
    uid = ground.uid(spare)
    assert uid is not None
    for validator in ground.validators:
        assert ground.weigh(validator, {uid: 1}) == "ok"
    ground.next_epoch()
    assert ground.read("Incentive", ground.netuid)[uid] > 0
    assert ground.read("TotalHotkeyAlpha", spare.hotkey.ss58_address, ground.netuid) == 0


def price_of_a_uid_rises_with_a_registration(ground: Ground) -> None:
    newcomer = ground.wallet("payer")
    before = ground.read("Burn", ground.netuid)
    assert ground.register(newcomer) == "ok"
    highest = ground.read("MaxBurn", ground.netuid)
    assert ground.read("Burn", ground.netuid) == pytest.approx(min(1.26 * before, highest), rel=0.1)


def new_subnets_have_64_validators_and_one_mechanism(ground: Ground) -> None:
    assert ground.read("MaxAllowedValidators", ground.netuid) == 64
    assert ground.read("MechanismCountCurrent", ground.netuid) == 1


MENDED: Mapping[str, Fact] = {
    "1a": new_subnets_run_yuma3,
    "1b": yuma3_bonds_are_an_average_of_weights,
    "2": owner_always_has_a_permit,
    "3": owner_needs_no_stake_for_weights,
    "8, 9": weights_are_scaled_to_the_nearest,
    "10": weights_of_zero_are_stored,
    "11": number_of_uids_is_checked_before_registration,
    "12": weights_have_no_upper_limit,
    "14": incentive_of_the_owners_coldkey_is_burned,
    "15": price_of_a_uid_rises_with_a_registration,
    "17": new_subnets_have_64_validators_and_one_mechanism,
    "5, 16": uid_given_away_loses_weights_and_a_full_subnet_of_the_immune_gives_one,
}
# Only of the double: 4 and 7 need the Drand beacon, 6 a look into one block, 13 a delegator, 21 two subnets
# whose epochs meet (``tests/localnet``).


@pytest.mark.parametrize("fact", AGREED, ids=lambda fact: fact.__name__)
def test_fact_that_agreed(ground: Ground, fact: Fact) -> None:
    fact(ground)


@pytest.mark.parametrize("fact", MENDED.values(), ids=MENDED)
def test_fact_that_the_double_had_wrong(ground: Ground, fact: Fact) -> None:
    fact(ground)


def test_facts_that_agreed_are_28() -> None:
    assert len(set(AGREED)) == 28
