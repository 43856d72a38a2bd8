"""What a neuron is told by its flags, the environment and ``.env``, read once into frozen records.

A flag beats the environment, which beats ``.env``.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer
from dotenv import dotenv_values

from flockoff import flags
from flockoff.flags import PROJECT_ROOT
from flockoff.logs import TRACE
from flockoff.text import secrets_in


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    trace: flags.LogTrace = False
    debug: flags.LogDebug = False
    info: flags.LogInfo = False
    directory: flags.LogDir = None
    as_json: flags.LogJson = False

    def __post_init__(self) -> None:
        """Raises typer.BadParameter for more than one level."""
        if self.trace + self.debug + self.info > 1:
            raise typer.BadParameter(
                "--logging.trace, --logging.debug and --logging.info exclude one another"
            )

    @property
    def level(self) -> int:
        return TRACE if self.trace else logging.DEBUG if self.debug else logging.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronSettings:
    """What miner and validator have in common."""

    netuid: flags.Netuid
    network: flags.Network = field(repr=False)  # a name, or an address that may hold a key
    chain_endpoint: flags.Endpoint = field(repr=False)
    competition: flags.CompetitionFile  # None: FLock OFF's own
    wallet_name: flags.WalletName
    wallet_hotkey: flags.WalletHotkey
    wallet_path: flags.WalletPath
    log: LogSettings = LogSettings()
    credentials: Credentials = field(default_factory=read_credentials)

    @property
    def secrets(self) -> frozenset[str]:
        """What no log may show: of the hub's credentials and of the node's address."""
        return self.credentials.secrets | secrets_in(self.network) | secrets_in(self.chain_endpoint or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerSettings:
    neuron: NeuronSettings
    repo_id: flags.RepoId
    dataset_path: flags.DatasetPath
    dry_run: flags.DryRun = False
    keep_private: flags.KeepPrivate = False
    retry_seconds: flags.RetrySeconds
    cache_dir: flags.CacheDir


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorSettings:
    neuron: NeuronSettings
    miner_sample_size: flags.MinerSampleSize
    blocks_per_epoch: flags.BlocksPerEpoch  # None: the subnet's own tempo
    block_threshold: flags.BlockThreshold
    epochs: flags.Epochs  # None: for ever
    cache_dir: flags.CacheDir
    data_dir: flags.DataDir
    eval_data_dir: flags.EvalDataDir
    device: flags.Device  # None: CUDA where there is one, else CPU
    workers: flags.Workers  # how many; or a Ray cluster's address; None: one a GPU
    allow_mixed_devices: flags.AllowMixedDevices = False
    max_seconds_per_miner: flags.MaxSecondsPerMiner
    max_disk_gb: flags.MaxDiskGb
    metrics: flags.Metrics  # port; None: not served
    report: flags.Report  # folder; None: not written
    dashboard: flags.Dashboard  # port; None: not served
    wandb_project: flags.WandbProject  # None: not tracked there
    wandb_entity: flags.WandbEntity


_ENVIRONMENT = "HF_TOKEN and HF_ENDPOINT are read from the environment or from .env in the project root."


def miner_settings(argv: Sequence[str] | None = None) -> MinerSettings:
    """Parse the miner's command line. Prints usage and exits with status 2 where it is wrong."""
    about = f"Upload a dataset to Hugging Face and commit it on the FLock OFF subnet.\n\n{_ENVIRONMENT}"
    return flags.parsed(MinerSettings, argv, program="miner.py", about=about)


def validator_settings(argv: Sequence[str] | None = None) -> ValidatorSettings:
    """Parse the validator's command line. Prints usage and exits with status 2 where it is wrong."""
    about = (
        "Evaluate miners' datasets and set weights on the FLock OFF subnet, epoch after epoch.\n\n"
        + _ENVIRONMENT
    )
    return flags.parsed(ValidatorSettings, argv, program="validator.py", about=about)
