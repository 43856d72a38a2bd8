"""``flockoff watch`` on a local chain, with a real server that takes the alerts."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

from flockoff.chain import hotkey_address
from tests.support.busy_subnet import BusySubnet, busy_subnet
from tests.support.post import Post, running_post

Flockoff = Callable[..., Result]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, isolated_home: None) -> Iterator[BusySubnet]:
    with busy_subnet(tmp_path_factory.mktemp("busy")) as found:
        yield found


@pytest.fixture
def post() -> Iterator[Post]:
    with running_post() as found:
        yield found


@pytest.fixture
def watch(busy: BusySubnet, command: Flockoff, tmp_path: Path) -> Flockoff:
    return lambda *more: command("watch", *more, *busy.flags, "--once", "--data-dir", str(tmp_path))


def uid_of(busy: BusySubnet, number: int) -> str:
    with closing(busy.chain(busy.subnet.miners[number])) as chain:
        return str(chain.require_uid())


@pytest.mark.slow
def test_watch_tells_each_thing_once_and_sends_later_what_did_not_arrive(
    busy: BusySubnet, watch: Flockoff, post: Post
) -> None:
    one, two, three = (uid_of(busy, number) for number in range(3))
    address = hotkey_address(busy.subnet.miners[1])
    post.refuse = 10**6
    done = watch(one, address, three, "--alert", post.url)
    assert done.exit_code == 1 and "Alerts did not arrive by json." in done.stderr
    assert (
        done.stdout.startswith(f"uid {three}: the commitment does not count.") and "\x1b" not in done.stdout
    )
    post.refuse = 0
    again = watch(one, address, three, "--alert", post.url)
    assert (again.exit_code, again.stdout) == (0, "")
    assert [each["title"].partition(":")[0] for each in post.told] == ["at fault"]

    first, _second = busy.validator_uids
    busy.node.advance(10)
    busy.set_weights(0, {int(two): 0.9, 0: 0.1})
    busy.set_weights(1, {int(two): 0.9, 0: 0.1})
    busy.next_epoch()
    lines = [json.loads(line) for line in watch(one, address, three, "--json").stdout.splitlines()]
    assert {(each["kind"], each["hotkey"]) for each in lines} == {
        ("weight_gone", hotkey_address(busy.subnet.miners[0])),
        ("beaten", hotkey_address(busy.subnet.miners[0])),
    } and first
    assert watch(one, address, three).stdout == ""


@pytest.mark.slow
def test_watch_of_a_wallet_and_of_nobody(busy: BusySubnet, watch: Flockoff) -> None:
    wallet = busy.subnet.miners[0]
    flags = ["--wallet-name", wallet.name, "--hotkey", wallet.hotkey, "--wallet-path", str(wallet.path)]
    assert watch(*flags).exit_code == 0
    done = watch("77")
    assert done.exit_code == 2 and "Nobody on the subnet has the uid '77'" in done.stderr
    gone = watch("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")
    assert "is not registered on the subnet" in gone.stdout
    refused = watch("--alert", "nonsense://topsecret", "1")
    assert refused.exit_code == 2 and "topsecret" not in refused.output
