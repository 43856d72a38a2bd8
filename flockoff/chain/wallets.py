"""Wallets on disk, in the layout that ``btcli`` writes."""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flockoff.errors import SetupError, UsageError
from flockoff.files import hand_written, remedy_for

if TYPE_CHECKING:
    from bittensor import Wallet
    from bittensor.keyfiles import Keyfile

# btcli's
PASSWORD_VARIABLE = "BT_WALLET_PASSWORD"
_PASSWORD_FILE_VARIABLE = "BT_WALLET_PASSWORD_FILE"
_MAX_KEY_BYTES = 1 << 16
_RESTORE = "Check the file and its permissions; to restore keys, see: uv run btcli wallet --help"


@dataclass(frozen=True, slots=True)
class WalletRef:
    """A wallet's location: ``path/name`` holds the coldkey, ``path/name/hotkeys/hotkey`` the hotkey."""

    name: str
    hotkey: str
    path: Path

    @property
    def flags(self) -> str:
        """The wallet as ``btcli`` flags."""
        parts = ("--wallet", self.name, "--wallet-hotkey", self.hotkey, "--wallet-path", str(self.path))
        return shlex.join(parts)


def load_wallet(ref: WalletRef, environ: Mapping[str, str] = os.environ) -> "Wallet":
    """The wallet with its hotkey unlocked. Nothing is asked for and the coldkey's secret is not touched.

    A hotkey with a password is unlocked by BT_WALLET_PASSWORD in ``environ``, by the variable that the SDK
    itself keeps for that one key, or by the file that BT_WALLET_PASSWORD_FILE names. Raises SetupError where
    the hotkey or the coldkey's public file is missing, unreadable or not a key, or where nothing unlocks it
    (a neuron runs unattended); UsageError for an impossible name, and for a password's file that cannot be
    read.
    """
    from bittensor import Wallet

    for what, name in (("wallet", ref.name), ("hotkey", ref.hotkey)):
        if name in ("", ".", "..") or Path(name).name != name:
            raise UsageError(f"{name!r} is not the name of a {what}.", remedy="Give a name, without a path.")
    wallet = Wallet(ref.name, ref.hotkey, path=str(ref.path))
    try:
        _check_present(ref, wallet)
    except OSError as error:  # a folder that this user may not enter
        place = error.filename or ref.path
        raise SetupError(
            f"Cannot use the wallet {place}: {error.strerror}.", remedy=remedy_for(error, place)
        ) from error
    variables = (PASSWORD_VARIABLE, _PASSWORD_FILE_VARIABLE, wallet.hotkey_file.env_var_name())
    known = any(environ.get(name) for name in variables)

    def sign() -> None:
        password = _password(environ) if wallet.hotkey_file.is_encrypted() else None
        wallet.get_hotkey(password).sign(b"flockoff")

    _load_key(ref, wallet.coldkeypub_file, lambda: wallet.coldkeypub, known)
    _load_key(ref, wallet.hotkey_file, sign, known)
    return wallet


def _password(environ: Mapping[str, str]) -> str | None:
    """As btcli finds it: in a variable, or in the file that another one names."""
    given, named = environ.get(PASSWORD_VARIABLE), environ.get(_PASSWORD_FILE_VARIABLE)
    if given or not named:
        return given or None
    text = hand_written(Path(named))
    if text is None:
        raise UsageError(
            f"There is no {named}.", remedy=f"Correct {_PASSWORD_FILE_VARIABLE}, or set {PASSWORD_VARIABLE}."
        )
    return text.strip()


def hotkey_address(ref: WalletRef) -> str:
    """The ss58 address of the wallet's hotkey. Raises as ``load_wallet``."""
    address: str = load_wallet(ref).hotkey.ss58_address
    return address


def _check_present(ref: WalletRef, wallet: "Wallet") -> None:
    coldkey, hotkey = (Path(file.path) for file in (wallet.coldkeypub_file, wallet.hotkey_file))
    if ref.path.exists() and not ref.path.is_dir():
        raise SetupError(f"{ref.path} is not a folder.", remedy="Give the folder of the wallets' folders.")
    if coldkey.exists() and hotkey.exists():
        for file in (coldkey, hotkey):
            if not file.is_file() or file.stat().st_size > _MAX_KEY_BYTES:
                raise SetupError(f"{file} is not a key file.", remedy=_RESTORE)  # do not even read it
            file.open("rb").close()  # the SDK's error would not say whose it is
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


def _load_key(ref: WalletRef, file: "Keyfile", load: Callable[[], object], password_known: bool) -> None:
    from bittensor.keyfiles import KeyfileError

    locked = False
    try:
        locked = file.is_encrypted()
        if locked and not password_known:
            raise SetupError(
                f"The key in {file.path} is encrypted, and nobody is there to enter the password.",
                remedy=f"Put the password into {PASSWORD_VARIABLE}, or store the hotkey without one: "
                f"uv run btcli wallet regen-hotkey {ref.flags} --overwrite",
            )
        load()
    except (KeyfileError, OSError, ValueError) as error:
        if locked:
            raise SetupError(
                f"The password does not unlock the key in {file.path}: {error}.",
                remedy=f"Set {PASSWORD_VARIABLE} to this hotkey's password, as it is.",
            ) from error
        raise SetupError(
            f"The key in {file.path} cannot be used: {error}.",
            remedy=_RESTORE,
        ) from error
