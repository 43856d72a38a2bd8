"""Every row of the table, from real SDK errors to this project's errors."""

from pathlib import Path

import pytest

from flockoff.chain.translation import BY_CODE, BY_NAME, Circumstances, no_subnet, translate
from flockoff.chain.wallets import WalletRef
from flockoff.errors import ChainCooldown, ChainError, ChainFatal, ChainTransient, NoFunds, NotRegistered
from flockoff.surroundings import steering

WHERE = Circumstances("ws://node:9944", 7, WalletRef("alice", "hot", Path("/w")), "5Cold")

COOLDOWN = [
    "SpaceLimitExceeded",
    "TooManyUnrevealedCommits",
    "CommitQueueFull",
    "RateLimitExceeded",
    "SettingWeightsTooFast",
    "CommittingWeightsTooFast",
    "CommitmentSetRateLimitExceeded",
    "AdminActionProhibitedDuringWeightsWindow",
]
NOT_REGISTERED = [
    "AccountNotAllowedCommit",
    "HotKeyNotRegisteredInSubNet",
    "HotKeyNotRegisteredInNetwork",
    "HotKeyAccountNotExists",
]
NO_FUNDS = ["Payment", "InsufficientBalance", "FundsUnavailable", "NotEnoughBalanceToStake", "NotExpendable"]
FATAL = [
    "StakeAmountTooLow",
    "NotEnoughStake",
    "NotEnoughStakeToSetWeights",
    "NeuronNoValidatorPermit",
    "SubnetNotExists",
    "MechanismDoesNotExist",
    "IncorrectWeightVersionKey",
    "MaxWeightExceeded",
    "BadOrigin",
    "CallFiltered",
    "SomethingNewThatNobodyKnows",
]
TRANSIENT = [
    "PriorityTooLow",
    "AlreadyImported",
    "Usurped",
    "Dropped",
    "Invalid",
    "Retracted",
    "FinalityTimeout",
    "Future",
    "Stale",
    "AncientBirthBlock",
    "BadProof",
    "ExhaustsResources",
    "InvalidRevealRound",
]
CASES = [
    *((name, ChainCooldown) for name in COOLDOWN),
    *((name, NotRegistered) for name in NOT_REGISTERED),
    *((name, NoFunds) for name in NO_FUNDS),
    *((name, ChainFatal) for name in FATAL),
    *((name, ChainTransient) for name in TRANSIENT),
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_translate_named_chain_error_gives_its_kind(name: str, kind: type[ChainError]) -> None:
    import bittensor as bt

    fault = translate(bt.ChainError("as the chain puts it", name), "set weights", WHERE)

    assert type(fault) is kind
    assert fault.message == f"Cannot set weights: {name}: as the chain puts it."
    assert fault.remedy
    assert "{" not in fault.remedy


def test_cases_cover_every_name_in_the_table() -> None:
    assert set(BY_NAME) <= {name for name, _ in CASES}


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_translate_unnamed_chain_error_goes_by_its_code(code: str) -> None:
    import bittensor as bt

    error = bt.ChainError("refused", code=bt.ErrorCode(code))

    assert type(translate(error, "commit", WHERE)) is BY_CODE[code][0]


def test_translate_rate_limit_with_blocks_tells_how_many_are_left() -> None:
    import bittensor as bt

    text = "Weights were last set 5 blocks ago; the rate limit is 100 blocks. Retry in ~95 blocks (~23s)."
    fault = translate(bt.ChainError(text, code=bt.ErrorCode.RATE_LIMITED), "set weights", WHERE)

    assert isinstance(fault, ChainCooldown)
    assert fault.blocks_left == 95


def test_translate_cooldown_without_blocks_leaves_them_open() -> None:
    import bittensor as bt

    fault = translate(bt.ChainError("too much", "SpaceLimitExceeded"), "commit", WHERE)

    assert isinstance(fault, ChainCooldown)
    assert fault.blocks_left is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "AccountNotAllowedCommit",
            "uv run btcli subnets register --netuid 7 --network ws://node:9944 --wallet alice",
        ),
        ("Payment", "coldkey 5Cold"),
        ("NeuronNoValidatorPermit", "Add stake to this hotkey on subnet 7"),
        ("SubnetNotExists", "uv run btcli subnets list --network ws://node:9944"),
    ],
)
def test_translate_remedy_names_subnet_and_wallet(name: str, expected: str) -> None:
    import bittensor as bt

    assert expected in translate(bt.ChainError("no", name), "commit", WHERE).remedy


def test_translate_unreachable_node_names_the_proxies_without_their_passwords(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import bittensor as bt

    monkeypatch.setenv("http_proxy", "ftp://user:hidden-word@127.0.0.1:9")
    quoted = bt.RpcConnectionError("ftp://user:hidden-word@127.0.0.1:9 isn't a valid proxy")
    fault = translate(quoted, "read the subnet", WHERE)

    assert type(fault) is ChainTransient and "(*** isn't a valid proxy)" in fault.message
    assert "Also check http_proxy" in fault.remedy and "hidden-word" not in str(fault)


def test_translate_unreachable_node_says_that_the_sdk_ignores_all_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in steering():
        monkeypatch.delenv(name)
    monkeypatch.setenv("all_proxy", "socks5h://proxy:1080")

    fault = translate(ConnectionRefusedError("refused"), "read the subnet", WHERE)

    assert "ignores ALL_PROXY" in fault.remedy and "SOCKS_PROXY" in fault.remedy


def test_translate_lost_submission_says_it_may_have_landed() -> None:
    import bittensor as bt

    lost = bt.ChainError("Connection lost while waiting. The transaction may already be on chain.")
    fault = translate(lost, "commit", WHERE)

    assert type(fault) is ChainTransient
    assert "read the chain before sending it again" in fault.remedy


def test_translate_connection_errors_name_the_endpoint() -> None:
    import bittensor as bt

    for error in (
        bt.RpcConnectionError("could not connect"),
        bt.RpcPolicyError("HTTP 429", status_code=429),
        ConnectionResetError("reset"),
        TimeoutError(),
    ):
        fault = translate(error, "commit", WHERE)
        assert type(fault) is ChainTransient
        assert "ws://node:9944" in fault.message


def test_translate_anything_else_is_fatal_and_named() -> None:
    import bittensor as bt

    for error in (
        bt.BittensorError("All weights are zero; nothing to set."),
        ValueError("Storage function not found"),
        KeyError("netuid"),
    ):
        fault = translate(error, "set weights", WHERE)
        assert type(fault) is ChainFatal
        assert type(error).__name__ in fault.message


def test_no_subnet_names_subnet_and_endpoint() -> None:
    assert no_subnet(WHERE).message == "There is no subnet 7 at ws://node:9944."


def test_translate_of_a_read_never_says_that_something_may_be_on_chain() -> None:
    import bittensor as bt

    for error in (
        TimeoutError(),
        bt.ChainError("Connection lost while waiting."),
        bt.ChainError("as the chain puts it", "Stale"),
        bt.ChainError("as the chain puts it", "CallFiltered"),
        ValueError("Storage function not found"),
    ):
        fault = translate(error, "read the subnet", WHERE, reading=True)
        assert type(fault) is ChainTransient
        assert fault.remedy
        assert "on chain" not in fault.remedy
