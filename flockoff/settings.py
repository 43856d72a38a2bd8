"""Flags, environment and ``.env``, read once into frozen records.

A flag beats the environment, which beats ``.env``.
"""

import argparse
import logging
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values
from platformdirs import user_cache_path, user_data_path

from flockoff.logs import TRACE
from flockoff.records import is_repo_id
from flockoff.text import secrets_in

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_WALLET_PATH = Path("~/.bittensor/wallets")


def default_cache_dir() -> Path:
    """Where converted and downloaded models are kept between runs."""
    return user_cache_path("flockoff")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the environment or ``.env`` says about the hub. ``repr`` shows none of it."""

    hf_token: str | None = field(default=None, repr=False)
    hf_endpoint: str | None = field(default=None, repr=False)  # may hold a password

    @property
    def secrets(self) -> frozenset[str]:
        """What no log may show."""
        token = [self.hf_token] if self.hf_token else []
        return secrets_in(self.hf_endpoint or "").union(token)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronSettings:
    """What miner and validator have in common."""

    wallet_name: str
    wallet_hotkey: str
    wallet_path: Path
    network: str = field(repr=False)  # a name, or an address that may hold a key
    chain_endpoint: str | None = field(repr=False)
    netuid: int
    competition: Path | None  # None: FLock OFF's own
    log_level: int
    log_dir: Path | None
    log_json: bool
    credentials: Credentials

    @property
    def secrets(self) -> frozenset[str]:
        """What no log may show: of the hub's credentials and of the node's address."""
        return self.credentials.secrets | secrets_in(self.network) | secrets_in(self.chain_endpoint or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerSettings:
    neuron: NeuronSettings
    repo_id: str
    dataset_path: Path
    dry_run: bool
    keep_private: bool
    retry_seconds: float
    cache_dir: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorSettings:
    neuron: NeuronSettings
    miner_sample_size: int
    blocks_per_epoch: int | None  # None: the subnet's own tempo
    block_threshold: int
    cache_dir: Path
    data_dir: Path
    eval_data_dir: Path
    device: str | None  # None: CUDA where there is one, else CPU
    workers: int | str | None  # how many; or a Ray cluster's address; None: one a GPU
    allow_mixed_devices: bool
    max_seconds_per_miner: float
    max_disk_gb: float
    epochs: int | None  # None: for ever
    metrics: int | None  # port; None: not served
    report: Path | None  # folder; None: not written
    dashboard: int | None  # port; None: not served
    wandb_project: str | None  # None: not tracked there
    wandb_entity: str | None


def read_credentials(environ: Mapping[str, str] = os.environ, directory: Path | None = None) -> Credentials:
    """HF_TOKEN and HF_ENDPOINT from ``environ``, else from ``.env`` in ``directory`` or the project root."""
    files = [(directory or Path.cwd()) / ".env", PROJECT_ROOT / ".env"]
    stored: dict[str, str | None] = {}
    for file in reversed(files):
        stored.update(dotenv_values(file, interpolate=False))

    def value(name: str) -> str | None:
        text = environ[name] if name in environ else stored.get(name)
        return text.strip() or None if text else None

    return Credentials(hf_token=value("HF_TOKEN"), hf_endpoint=value("HF_ENDPOINT"))


def miner_settings(argv: Sequence[str] | None = None) -> MinerSettings:
    """Parse the miner's command line. Prints usage and exits with status 2 where it is wrong."""
    parser = _parser("Upload a dataset to Hugging Face and commit it on the FLock OFF subnet.")
    group = parser.add_argument_group("dataset")
    group.add_argument(
        "--hf_repo_id",
        required=True,
        type=_repo_id,
        metavar="OWNER/NAME",
        help="dataset repo on Hugging Face",
    )
    group.add_argument(
        "--dataset_path",
        type=_path,
        default=Path("data/data.jsonl"),
        metavar="FILE",
        help="default: %(default)s",
    )
    group.add_argument(
        "--dry_run", action="store_true", help="do all checks, say what would be done, change nothing"
    )
    group.add_argument(
        "--keep_private", action="store_true", help="do not make the repo public after the commitment"
    )
    group.add_argument(
        "--retry_seconds",
        type=_positive_number,
        default=120.0,
        metavar="S",
        help="pause before trying again on a cooldown or a network fault (default: 120)",
    )
    _add_cache_dir(group)
    args = parser.parse_args(argv)
    return MinerSettings(
        neuron=_neuron(args),
        repo_id=args.hf_repo_id,
        dataset_path=args.dataset_path,
        dry_run=args.dry_run,
        keep_private=args.keep_private,
        retry_seconds=args.retry_seconds,
        cache_dir=args.cache_dir,
    )


def validator_settings(argv: Sequence[str] | None = None) -> ValidatorSettings:
    """Parse the validator's command line. Prints usage and exits with status 2 where it is wrong."""
    parser = _parser("Evaluate miners' datasets and set weights on the FLock OFF subnet, epoch after epoch.")
    group = parser.add_argument_group("epochs")
    group.add_argument(
        "--miner_sample_size", type=_count, default=32, metavar="N", help="miners an epoch (default: 32)"
    )
    group.add_argument(
        "--blocks_per_epoch",
        type=_count,
        metavar="N",
        help="default: the subnet's own tempo, 360 blocks on mainnet",
    )
    group.add_argument(
        "--block_threshold",
        type=_count,
        default=50,
        metavar="N",
        help="set weights at the latest this many blocks before the epoch ends (default: 50)",
    )
    group.add_argument(
        "--epochs", type=_count, metavar="N", help="stop after N epochs (default: run for ever)"
    )
    _add_machine(parser)
    _add_watching(parser)
    args = parser.parse_args(argv)
    return ValidatorSettings(
        neuron=_neuron(args),
        miner_sample_size=args.miner_sample_size,
        blocks_per_epoch=args.blocks_per_epoch,
        block_threshold=args.block_threshold,
        cache_dir=args.cache_dir,
        data_dir=args.data_dir,
        eval_data_dir=args.eval_data_dir,
        device=args.device,
        workers=args.workers,
        allow_mixed_devices=args.allow_mixed_devices,
        max_seconds_per_miner=args.max_seconds_per_miner,
        max_disk_gb=args.max_disk_gb,
        epochs=args.epochs,
        metrics=args.metrics,
        report=args.report,
        dashboard=args.dashboard,
        wandb_project=args.wandb_project,
        wandb_entity=args.wandb_entity,
    )


def _add_watching(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("watching")
    group.add_argument(
        "--metrics",
        type=_port,
        metavar="PORT",
        help="serve metrics for Prometheus on this port, to this machine only",
    )
    group.add_argument(
        "--report",
        type=_path,
        metavar="DIR",
        help="keep a report as index.html in this folder, made anew with each epoch",
    )
    group.add_argument(
        "--dashboard",
        type=_port,
        metavar="PORT",
        help="serve the report live on this port, to this machine only",
    )
    group.add_argument(
        "--wandb.project",
        dest="wandb_project",
        metavar="NAME",
        help="log each epoch to this Weights & Biases project (extra wandb)",
    )
    group.add_argument(
        "--wandb.entity", dest="wandb_entity", metavar="NAME", help="whose project it is (default: yours)"
    )


def _add_machine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--device", metavar="NAME", help="cuda, cuda:1, cpu … (default: cuda where there is one, else cpu)"
    )
    group.add_argument(
        "--workers",
        type=_workers,
        default="auto",
        metavar="auto|N|ray://HOST:PORT",
        help="evaluate on so many GPUs at once, or in so many shares of the CPU, or on a Ray cluster "
        "(default: auto, which is all GPUs of this machine, else the whole CPU)",
    )
    group.add_argument(
        "--allow_mixed_devices",
        action="store_true",
        help="compare losses of different kinds of GPU or CPU, whose last digits differ "
        "(default: an epoch keeps to one kind)",
    )
    group.add_argument(
        "--max_seconds_per_miner",
        type=_positive_number,
        default=3600.0,
        metavar="S",
        help="the longest that one dataset may take to evaluate (default: 3600)",
    )
    group.add_argument(
        "--max_disk_gb",
        type=_positive_number,
        default=50.0,
        metavar="GB",
        help="for models and downloaded datasets; the datasets longest unused go first (default: 50)",
    )
    _add_cache_dir(group)
    group.add_argument(
        "--data_dir",
        type=_path,
        default=user_data_path("flockoff"),
        metavar="DIR",
        help="ledger and downloaded datasets (default: %(default)s)",
    )
    group.add_argument(
        "--eval_data_dir",
        type=_path,
        default=PROJECT_ROOT / "eval_data",
        metavar="DIR",
        help="where the evaluation set lies or is downloaded to (default: the one of this repository)",
    )


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description,
        epilog="HF_TOKEN and HF_ENDPOINT are read from the environment or from .env in the project root.",
        allow_abbrev=False,
    )
    parser.add_argument("--netuid", type=_netuid, required=True, help="the subnet's number")
    parser.add_argument(
        "--competition",
        type=_path,
        metavar="FILE",
        help="TOML file with other rules (default: FLock OFF's own)",
    )
    group = parser.add_argument_group("wallet")
    group.add_argument(
        "--wallet.name", dest="wallet_name", default="default", metavar="NAME", help="coldkey's name"
    )
    group.add_argument(
        "--wallet.hotkey", dest="wallet_hotkey", default="default", metavar="NAME", help="hotkey's name"
    )
    group.add_argument(
        "--wallet.path",
        dest="wallet_path",
        type=_path,
        default=DEFAULT_WALLET_PATH.expanduser(),
        metavar="DIR",
        help=f"default: {DEFAULT_WALLET_PATH}",
    )
    group = parser.add_argument_group("chain")
    group.add_argument(
        "--subtensor.network",
        dest="network",
        default="finney",
        metavar="NAME",
        help="finney, test, local or a ws:// address (default: finney)",
    )
    group.add_argument(
        "--subtensor.chain_endpoint",
        dest="chain_endpoint",
        metavar="URL",
        help="a node's address; beats the network",
    )
    _add_logging(parser)
    return parser


def _add_logging(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("logging")
    levels = group.add_mutually_exclusive_group()
    for name, level, what in (
        ("trace", TRACE, "everything, every training step included"),
        ("debug", logging.DEBUG, "more than usual"),
        ("info", logging.INFO, "the usual (default)"),
    ):
        levels.add_argument(
            f"--logging.{name}", dest="log_level", action="store_const", const=level, help=what
        )
    group.add_argument(
        "--logging.logging_dir",
        dest="log_dir",
        type=_path,
        metavar="DIR",
        help="also write rotated log files here",
    )
    group.add_argument(
        "--logging.json", dest="log_json", action="store_true", help="one JSON object a line, for collectors"
    )


def _neuron(args: argparse.Namespace) -> NeuronSettings:
    return NeuronSettings(
        wallet_name=args.wallet_name,
        wallet_hotkey=args.wallet_hotkey,
        wallet_path=args.wallet_path,
        network=args.network,
        chain_endpoint=args.chain_endpoint,
        netuid=args.netuid,
        competition=args.competition,
        log_level=args.log_level or logging.INFO,
        log_dir=args.log_dir,
        log_json=args.log_json,
        credentials=read_credentials(),
    )


def _add_cache_dir(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--cache_dir",
        type=_path,
        default=default_cache_dir(),
        metavar="DIR",
        help="base models and tokenizers (default: %(default)s)",
    )


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _repo_id(text: str) -> str:
    if not is_repo_id(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a dataset repo id of the form owner/name")
    return text


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{number} is not between {low} and {high}")
        return number

    return parse


_netuid = _whole_number(0, 2**16 - 1)
_count = _whole_number(1, 2**31 - 1)
_port = _whole_number(1, 2**16 - 1)


def _workers(text: str) -> int | str | None:
    """A number, a Ray cluster's address, or None for "auto"."""
    if text == "auto":
        return None
    if not text.startswith("ray://"):
        return _count(text)
    parts = re.fullmatch(r"ray://[^\s/@:]+:(\d{1,5})", text)
    if parts is None or not 0 < int(parts[1]) < 2**16:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address of the form ray://HOST:PORT")
    return text


def _positive_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number
