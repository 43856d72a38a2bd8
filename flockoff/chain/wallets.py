"""Wallets on disk, in the layout that ``btcli`` writes."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flockoff.errors import SetupError, UsageError

if TYPE_CHECKING:
    from bittensor import Wallet
    from bittensor.keyfiles import Keyfile


@dataclass(frozen=True, slots=True)
class WalletRef:
    """Where a wallet lies: ``path/name`` holds the coldkey, ``path/name/hotkeys/hotkey`` the hotkey."""

    name: str
    hotkey: str
    path: Path

    @property
    def flags(self) -> str:
        """The wallet as ``btcli`` takes it on its command line."""
        parts = ("--wallet", self.name, "--wallet-hotkey", self.hotkey, "--wallet-path", str(self.path))
        return shlex.join(parts)


def load_wallet(ref: WalletRef) -> "Wallet":
    """The wallet with its hotkey unlocked. Nothing is asked for and the coldkey's secret is not touched.

    Raises SetupError where the hotkey or the coldkey's public file is missing, unreadable or not a key, or
    where the hotkey is encrypted (a neuron runs unattended); UsageError for an impossible name.
    """
    from bittensor import Wallet

    for what, name in (("wallet", ref.name), ("hotkey", ref.hotkey)):
        if name in ("", ".", "..") or Path(name).name != name:
            raise UsageError(f"{name!r} is not the name of a {what}.")
    wallet = Wallet(ref.name, ref.hotkey, path=str(ref.path))
    _check_present(ref, wallet)
    _load_key(ref, wallet.coldkeypub_file, lambda: wallet.coldkeypub)
    _load_key(ref, wallet.hotkey_file, lambda: wallet.hotkey.sign(b"flockoff"))
    return wallet


def hotkey_address(ref: WalletRef) -> str:
    """The ss58 address of the wallet's hotkey. Raises as ``load_wallet``."""
    address: str = load_wallet(ref).hotkey.ss58_address
    return address


def _check_present(ref: WalletRef, wallet: "Wallet") -> None:
    coldkey, hotkey = (Path(file.path) for file in (wallet.coldkeypub_file, wallet.hotkey_file))
    if coldkey.exists() and hotkey.exists():
        return
    if coldkey.exists():
        missing, command = hotkey, "new-hotkey"
    elif hotkey.exists():
        missing, command = coldkey, "regen-coldkeypub --ss58 ADDRESS"
    else:
        missing, command = coldkey, "create"
    raise SetupError(
        f"There is no {missing}.", remedy=f"Make it with: uv run btcli wallet {command} {ref.flags}"
    )


def _load_key(ref: WalletRef, file: "Keyfile", load: Callable[[], object]) -> None:
    from bittensor.keyfiles import KeyfileError

    try:
        if file.is_encrypted():
            raise SetupError(
                f"The key in {file.path} is locked with a password, and nobody is there to enter it.",
                remedy="Use a hotkey stored without a password, as btcli makes them: "
                f"uv run btcli wallet regen-hotkey {ref.flags} --overwrite",
            )
        load()
    except (KeyfileError, OSError, ValueError) as error:
        raise SetupError(
            f"The key in {file.path} cannot be used: {error}.",
            remedy="Check the file and who may read it; what restores keys: uv run btcli wallet --help",
        ) from error
