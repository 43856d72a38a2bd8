"""A double of the Hugging Face Hub over real git repositories, for development and tests on this machine.

Supported: whoami, creating and deleting repos, visibility and gating, uploads (regular mode, up to 64 MiB and
more), branches, file listings, commit logs, downloads with ranges. Not supported: pushes over HTTP, LFS and
Xet storage, pull requests, revisions with a slash in them.
"""

from flockoff.localnet.hub.script import FaultScript, altered, answer, cut, drip, silence
from flockoff.localnet.hub.server import HubServer, HubSettings
from flockoff.localnet.hub.switches import FAULTS, HubSwitches

__all__ = [
    "FAULTS",
    "FaultScript",
    "HubServer",
    "HubSettings",
    "HubSwitches",
    "altered",
    "answer",
    "cut",
    "drip",
    "silence",
]
