"""Options that several commands have, under the names that ``btcli`` and the neurons give them."""

from pathlib import Path
from typing import Annotated

import typer
from platformdirs import user_data_path

from flockoff.settings import DEFAULT_WALLET_PATH, default_cache_dir

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        "--data_dir",
        metavar="DIR",
        default_factory=lambda: user_data_path("flockoff"),
        help="The validator's data folder, where its ledger is.",
    ),
]
CacheDir = Annotated[
    Path,
    typer.Option(
        "--cache-dir",
        "--cache_dir",
        metavar="DIR",
        default_factory=default_cache_dir,
        help="Base models and tokenizers.",
    ),
]
CompetitionFile = Annotated[
    Path | None,
    typer.Option("--competition", metavar="FILE", help="TOML file with other rules than FLock OFF's own."),
]
EpochBlock = Annotated[
    int | None,
    typer.Option("--epoch", metavar="BLOCK", help="First block of the epoch; default: the last closed one."),
]
WalletName = Annotated[
    str, typer.Option("--wallet-name", "--wallet.name", "--name", metavar="NAME", help="The coldkey's name.")
]
WalletHotkey = Annotated[
    str,
    typer.Option(
        "--wallet-hotkey", "--wallet.hotkey", "--hotkey", "-H", metavar="NAME", help="The hotkey's name."
    ),
]
WalletPath = Annotated[
    Path,
    typer.Option(
        "--wallet-path",
        "--wallet.path",
        "-p",
        metavar="DIR",
        default_factory=DEFAULT_WALLET_PATH.expanduser,
        show_default=str(DEFAULT_WALLET_PATH),
        help="Where wallets are.",
    ),
]
Network = Annotated[
    str,
    typer.Option(
        "--network", "--subtensor.network", metavar="NAME", help="finney, test, local or a ws:// address."
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--chain", "--subtensor.chain_endpoint", metavar="URL", help="A node's address; beats the network."
    ),
]
