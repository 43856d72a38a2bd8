"""The MEV shield: the node decrypts what the SDK encrypts."""

from typing import Any

import bittensor
import bittensor_core
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flockoff.localnet.node.shield import local_key, make_key, open_envelope
from tests.support.examples import examples
from tests.support.local_chain import Subnet, calls, error_of, must

KEY = local_key()


@settings(max_examples=examples(25))
@given(st.binary(max_size=500))
def test_envelope_of_the_sdk_opens_to_what_it_was(message: bytes) -> None:
    envelope = bittensor_core.encrypt_mlkem768(KEY.public, message, include_key_hash=True)

    assert open_envelope(KEY, bytes(envelope)) == message


def test_envelope_for_another_key_or_cut_or_changed_does_not_open() -> None:
    envelope = bytes(bittensor_core.encrypt_mlkem768(KEY.public, b"message", include_key_hash=True))

    with pytest.raises(ValueError):
        open_envelope(make_key(b"another" * 5), envelope)
    for at in (17, 1110, len(envelope) - 1):  # length, nonce, tag
        with pytest.raises(ValueError):
            open_envelope(KEY, envelope[:at] + bytes([envelope[at] ^ 1]) + envelope[at + 1 :])
        with pytest.raises(ValueError):
            open_envelope(KEY, envelope[:at])


def test_registration_through_the_shield_gets_a_uid(subnet: Subnet, wallet_of: Any) -> None:
    newcomer = wallet_of("newcomer")
    subnet.fund(newcomer)

    result = must(subnet.client.execute(bittensor.BurnedRegister(netuid=1), newcomer))

    assert result.data["shielded"]
    assert subnet.client.neurons.uid(hotkey_ss58=newcomer.hotkey.ss58_address, netuid=1) == 3


def test_registration_through_the_shield_reports_its_own_error(subnet: Subnet) -> None:
    result = subnet.client.execute(bittensor.BurnedRegister(netuid=1), subnet.miner)

    assert error_of(result) == "HotKeyAlreadyRegisteredInSubNet"


def test_shielded_garbage_is_void_and_the_chain_goes_on(subnet: Subnet) -> None:
    must(subnet.submit(calls.MevShield.submit_encrypted(ciphertext=b"\xff" * 2000), subnet.miner))
    sealed = bittensor_core.encrypt_mlkem768(KEY.public, b"no extrinsic", include_key_hash=True)
    must(subnet.submit(calls.MevShield.submit_encrypted(ciphertext=bytes(sealed)), subnet.miner))

    must(subnet.submit(calls.System.remark(remark=b"still here"), subnet.miner))
