import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flockoff.chain import WalletRef, load_wallet
from flockoff.errors import SetupError, UsageError

NewWallet = Callable[[str], WalletRef]


def hotkey_file(ref: WalletRef) -> Path:
    return ref.path / ref.name / "hotkeys" / ref.hotkey


def test_load_wallet_needs_neither_coldkey_nor_hotkeypub(new_wallet: NewWallet) -> None:
    ref = new_wallet("alice")
    (ref.path / "alice" / "coldkey").unlink()
    (ref.path / "alice" / "hotkeys" / "defaultpub.txt").unlink()

    wallet = load_wallet(ref)

    assert wallet.hotkey.ss58_address.startswith("5")
    assert wallet.coldkeypub.ss58_address.startswith("5")


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        (["alice"], "btcli wallet create"),
        (["alice/hotkeys/default"], "btcli wallet new-hotkey"),
        (["alice/coldkeypub.txt"], "btcli wallet regen-coldkeypub"),
    ],
)
def test_load_wallet_missing_file_names_the_command(
    new_wallet: NewWallet, missing: list[str], command: str
) -> None:
    ref = new_wallet("alice")
    for name in missing:
        path = ref.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    with pytest.raises(SetupError) as caught:
        load_wallet(ref)

    assert str(ref.path) in caught.value.message
    assert command in caught.value.remedy
    assert "--wallet alice --wallet-hotkey default --wallet-path" in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"hello", b'{"a": 1}', bytes(range(256))])
def test_load_wallet_damaged_hotkey_is_a_setup_error(new_wallet: NewWallet, content: bytes) -> None:
    ref = new_wallet("alice")
    hotkey_file(ref).write_bytes(content)

    with pytest.raises(SetupError, match="cannot be used"):
        load_wallet(ref)


def test_load_wallet_hotkey_without_its_secret_is_a_setup_error(new_wallet: NewWallet) -> None:
    ref = new_wallet("alice")
    shutil.copy(ref.path / "alice" / "hotkeys" / "defaultpub.txt", hotkey_file(ref))

    with pytest.raises(SetupError, match="private key"):
        load_wallet(ref)


@pytest.mark.parametrize("instead", [".", "/dev/zero", "pipe", "large"])
def test_load_wallet_what_can_be_no_key_is_not_even_read(new_wallet: NewWallet, instead: str) -> None:
    ref = new_wallet("alice")
    os.mkfifo(ref.path / "pipe")
    (ref.path / "large").write_bytes(bytes(1 << 17))
    hotkey_file(ref).unlink()
    hotkey_file(ref).symlink_to(ref.path / instead)

    with pytest.raises(SetupError, match=f"{hotkey_file(ref)} is not a key file"):
        load_wallet(ref)


def test_load_wallet_path_that_no_disk_takes_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"Cannot use the wallet .*: File name too long. Choose a shorter"):
        load_wallet(WalletRef("alice", "default", tmp_path / ("x" * 300)))


def test_load_wallet_file_for_the_wallets_folder_is_a_setup_error(tmp_path: Path) -> None:
    (tmp_path / "wallets").write_bytes(b"")

    with pytest.raises(SetupError, match="wallets is not a folder"):
        load_wallet(WalletRef("alice", "default", tmp_path / "wallets"))


@pytest.mark.skipif(
    sys.platform == "win32" or (os.name == "posix" and os.geteuid() == 0), reason="needs file modes"
)
def test_load_wallet_unreadable_hotkey_is_a_setup_error(new_wallet: NewWallet) -> None:
    ref = new_wallet("alice")
    hotkey_file(ref).chmod(0)

    with pytest.raises(SetupError, match="cannot be used"):
        load_wallet(ref)


def test_load_wallet_locked_hotkey_is_a_setup_error_and_asks_nobody(new_wallet: NewWallet) -> None:
    ref = new_wallet("alice")
    hotkey_file(ref).write_bytes(
        b"$NACL" + bytes(64)
    )  # how a locked key begins; making one takes six seconds

    with pytest.raises(SetupError, match="is encrypted") as caught:
        load_wallet(ref)
    assert "BT_WALLET_PASSWORD" in caught.value.remedy


@pytest.mark.slow
def test_load_wallet_password_that_does_not_fit_is_a_setup_error(
    new_wallet: NewWallet, tmp_path: Path
) -> None:
    """A try takes the processor six seconds; one that fits, from the variable, is in tests/security."""
    ref = new_wallet("alice")
    hotkey_file(ref).write_bytes(b"$NACL" + bytes(64))
    file = tmp_path / "password"
    file.write_text("guessed\n", encoding="utf-8")

    with pytest.raises(SetupError, match="BT_WALLET_PASSWORD") as caught:
        load_wallet(ref, {"BT_WALLET_PASSWORD_FILE": str(file)})
    assert "guessed" not in str(caught.value)


def test_load_wallet_file_of_a_password_is_read_only_where_it_is_needed(new_wallet: NewWallet) -> None:
    ref, environ = new_wallet("alice"), {"BT_WALLET_PASSWORD_FILE": "/no/such/file"}
    load_wallet(ref, environ)
    hotkey_file(ref).write_bytes(b"$NACL" + bytes(64))

    with pytest.raises(UsageError, match=r"There is no /no/such/file. Correct BT_WALLET_PASSWORD_FILE"):
        load_wallet(ref, environ)


@pytest.mark.parametrize(("name", "hotkey"), [("", "default"), ("a/b", "default"), ("a", ".."), ("a", "b/c")])
def test_load_wallet_impossible_name_is_a_usage_error(tmp_path: Path, name: str, hotkey: str) -> None:
    with pytest.raises(UsageError):
        load_wallet(WalletRef(name, hotkey, tmp_path))


def test_wallet_ref_flags_with_spaces_are_quoted() -> None:
    flags = WalletRef("alice", "default", Path("/my wallets")).flags

    assert flags == "--wallet alice --wallet-hotkey default --wallet-path '/my wallets'"
