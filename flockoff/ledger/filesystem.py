"""Detects file systems on which a ledger is not safe."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

REMEDY = "Give a folder on a disk of this machine with --data_dir."

# Other machines' disks, and folders of the host of a virtual machine or container: SQLite's write-ahead log
# needs memory that all its users share, and locks that hold.
_REMOTE = frozenset(
    [
        *(
            "nfs",
            "nfs3",
            "nfs4",
            "cifs",
            "smb2",
            "smb3",
            "smbfs",
            "ncpfs",
            "afpfs",
            "webdav",
            "davfs",
            "davfs2",
        ),
        *("9p", "afs", "coda", "ceph", "glusterfs", "lustre", "gpfs", "mmfs", "beegfs", "orangefs", "pvfs2"),
        *("ocfs2", "gfs2", "virtiofs", "drvfs", "vboxsf", "prl_fs", "vmhgfs", "fakeowner", "remote"),
    ]
)
# Of the programs that show remote content as a folder, those that only rearrange local ones.
_LOCAL_FUSE = frozenset(["fuse.fuse-overlayfs", "fuse.bindfs", "fuse.mergerfs", "fuse.ext4", "fuse.zfs"])
_IN_MEMORY = frozenset(["tmpfs", "ramfs"])


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system: its mount point, and its type as named by the operating system."""

    point: Path
    kind: str


def mounts() -> list[Mount]:
    """This machine's mounts, in order: at the same mount point a later one hides an earlier one. Empty if the
    operating system does not list them, as in some containers.
    """
    try:
        parts = psutil.disk_partitions(all=True)
    except OSError:
        return []
    return [
        Mount(Path(part.mountpoint), "remote" if "remote" in part.opts.split(",") else part.fstype)
        for part in parts
    ]


def mount_of(path: Path, table: Iterable[Mount]) -> Mount | None:
    """The mount that holds ``path`` (absolute, without links, need not exist), or None."""
    found = None
    for mount in table:
        holds = mount.point == path or mount.point in path.parents
        if holds and (found is None or len(mount.point.parts) >= len(found.point.parts)):
            found = mount
    return found


def weakness(path: Path, table: Iterable[Mount]) -> str | None:
    """Why a ledger at ``path`` may be damaged or lost, phrased to follow its name; None if it is safe."""
    mount = mount_of(path.resolve(), table)
    if mount is None:
        return None
    kind = mount.kind.lower()
    where = f"({mount.kind} at {mount.point})"
    if kind in _REMOTE or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE):
        return f"is on a network or virtual file system {where}, on which SQLite may damage it"
    if kind in _IN_MEMORY:
        return f"is in memory {where} and is lost when this machine restarts"
    return None
