"""Chain, wallet, clock and hub."""

import time
from collections.abc import Iterator
from contextlib import closing

from flockoff import openers
from flockoff.alerts import check_alerts, kind_of
from flockoff.chain import open_chain, resolve_endpoint
from flockoff.doctor.finding import Finding
from flockoff.errors import FlockoffError
from flockoff.settings import Credentials, NeuronSettings
from flockoff.surroundings import steering
from flockoff.text import without_key

_BLOCKS_BEHIND = 10  # at most, of a node in sync
_CLOCK_SECONDS = 30.0  # more than a block and a slow response


def chain(settings: NeuronSettings, role: str) -> Iterator[Finding]:
    """The node, the clock, the wallet, and the hotkey's registration."""
    endpoint = resolve_endpoint(settings.network, settings.chain_endpoint)
    with closing(open_chain(endpoint=endpoint, netuid=settings.netuid, wallet=None)) as node:
        status = node.epoch_status()
        age = time.time() - node.head_time()
    yield from _clock_findings(age, _BLOCKS_BEHIND * max(status.seconds_per_block, 1.0))
    yield Finding("chain", "good", f"block {status.block:,} of {without_key(endpoint)}")
    yield from _hotkey(settings, role)


def _clock_findings(age: float, most: float) -> Iterator[Finding]:
    """``age``: the latest block's age by this machine's clock, in seconds; ``most``: the usual maximum."""
    if age > most:
        remedy = (
            "Either the node is not in sync (try another one with --chain), or this machine's clock is fast."
        )
        yield Finding("clock and chain", "bad", f"the latest block is {age:,.0f} s old", remedy)
    elif age < -_CLOCK_SECONDS:
        remedy = "Turn on time synchronisation (timedatectl set-ntp true)."
        yield Finding(
            "clock and chain", "doubtful", f"this clock is {-age:,.0f} s behind the chain's", remedy
        )
    else:
        yield Finding("clock and chain", "good", "in step with each other")


def _hotkey(settings: NeuronSettings, role: str) -> Iterator[Finding]:
    try:
        subnet = openers.open_subnet(settings)
    except FlockoffError as error:
        yield Finding("wallet", "bad", error.message, error.remedy)
        return
    with closing(subnet):
        yield Finding("wallet", "good", f"{settings.wallet_name}/{settings.wallet_hotkey}: {subnet.hotkey}")
        uid = subnet.require_uid()
        snapshot = subnet.snapshot()
        [neuron] = [neuron for neuron in snapshot.neurons if neuron.uid == uid]
        yield Finding("registration", "good", f"uid {uid} on subnet {settings.netuid}")
        if role == "miner":
            committed = snapshot.commitments.get(subnet.hotkey)
            yield Finding("commitment", "good", committed.text if committed else "none yet")
            return
        stake, permit = f"stake {neuron.stake:,.1f}", neuron.validator_permit
        remedy = (
            f"Add stake on subnet {settings.netuid}, with btcli or in a wallet's app: permits go to the "
            "highest stakes, and weights of a hotkey without one are refused."
        )
        if permit:
            yield Finding("stake and permit", "good", f"{stake}, a validator permit")
        else:
            yield Finding("stake and permit", "bad", f"{stake}, no validator permit", remedy)


def environment() -> Iterator[Finding]:
    """Environment variables that affect connections to hub and chain."""
    names = steering()
    yield Finding(
        "environment", "good", f"{', '.join(names)} set" if names else "nothing set that affects connections"
    )


def alerts(credentials: Credentials) -> Iterator[Finding]:
    """What FLOCKOFF_ALERTS names, by kind alone."""
    urls = credentials.alerts
    if not urls:
        yield Finding("alerts", "unknown", "FLOCKOFF_ALERTS names nobody to send them to")
        return
    check_alerts(urls)
    yield Finding("alerts", "good", f"by {', '.join(map(kind_of, urls))}")


def hub(credentials: Credentials, role: str) -> Iterator[Finding]:
    with closing(openers.open_hub(credentials)) as client:
        account = client.account()
    rights = "with write access" if account.can_write else "read-only"
    if role == "miner" and not account.can_write:
        yield Finding(
            "hub token",
            "bad",
            f"{account.name}, {rights}",
            "Create one with write access at huggingface.co/settings/tokens; put it into .env as HF_TOKEN.",
        )
        return
    yield Finding("hub token", "good", f"{account.name}, {rights}")
