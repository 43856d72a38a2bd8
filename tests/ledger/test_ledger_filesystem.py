"""A ledger on file systems that are not a local disk's."""

import logging
import sqlite3
from pathlib import Path

import pytest

from flockoff.doctor.machine import ledger_folder
from flockoff.errors import LedgerError
from flockoff.ledger import Ledger, database
from flockoff.ledger.filesystem import Mount, mount_of, mounts, weakness


def table(*lines: str) -> list[Mount]:
    """``lines``: type and mount point."""
    return [Mount(Path(point), kind) for kind, point in (line.split(" ", 1) for line in lines)]


LOCAL = table("ext4 /", "proc /proc", "xfs /home", "btrfs /srv/my data")


@pytest.mark.parametrize(
    "kind",
    [
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "glusterfs", "lustre", "vboxsf"),
        *(
            "fuse.sshfs",
            "fuse.s3fs",
            "fuse.rclone",
            "fuse.gcsfuse",
            "fuse.glusterfs",
            "fuse.vmhgfs-fuse",
            "NFS",
        ),
        *("afpfs", "webdav", "remote"),
    ],
)
def test_weakness_of_a_folder_on_a_network_file_system_names_it(kind: str) -> None:
    said = weakness(Path("/mnt/far/data/ledger.sqlite"), [*LOCAL, *table(f"{kind} /mnt/far")])
    assert said == (
        f"is on a network or virtual file system ({kind} at /mnt/far), on which SQLite may damage it"
    )


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "apfs", "NTFS", "overlay", "fuseblk", "f2fs"]
)
def test_weakness_of_a_folder_on_a_local_disk_is_none(kind: str) -> None:
    assert weakness(Path("/mnt/disk/data"), [*LOCAL, *table(f"{kind} /mnt/disk")]) is None


def test_weakness_of_a_folder_in_memory_says_that_it_is_lost() -> None:
    said = weakness(Path("/run/user/1/data"), [*LOCAL, *table("tmpfs /run/user/1")])
    assert said is not None
    assert "lost when this machine restarts" in said


@pytest.mark.parametrize(
    ("path", "point"),
    [
        ("/data", "/"),
        ("/home", "/home"),
        ("/home/ann/data", "/home"),
        ("/homes/ann", "/"),
        ("/srv/my data/x", "/srv/my data"),
        ("/net/a/b", "/net/a"),
    ],
)
def test_mount_of_is_the_innermost_folder_that_holds_the_path(path: str, point: str) -> None:
    found = mount_of(Path(path), [*LOCAL, *table("nfs4 /net/a", "ext4 /net")])
    assert found is not None
    assert found.point == Path(point)


def test_mount_of_a_folder_mounted_over_another_is_the_later() -> None:
    assert mount_of(Path("/data/x"), table("ext4 /", "nfs /data", "ext4 /data")) == Mount(
        Path("/data"), "ext4"
    )
    assert mount_of(Path("/data"), []) is None


def test_weakness_looks_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    assert weakness(tmp_path / "link" / "new", table("ext4 /", f"nfs4 {tmp_path.resolve() / 'far'}"))


def test_mounts_of_this_machine_hold_its_root() -> None:
    assert mount_of(Path("/").resolve(), mounts()) is not None


def test_doctor_says_of_the_ledger_folder_what_is_weak_and_the_remedy() -> None:
    [weak] = ledger_folder(Path("/mnt/far/data"), [*LOCAL, *table("nfs4 /mnt/far")])
    assert weak.state == "doubtful"
    assert "network" in weak.found
    assert "--data_dir" in weak.remedy
    assert not list(ledger_folder(Path("/home/ann/data"), LOCAL))


def test_ledger_on_a_network_file_system_is_opened_with_a_warning_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Patched, because no test can mount a network file system.
    monkeypatch.setattr(database, "mounts", lambda: [Mount(tmp_path.resolve(), "nfs4")])
    for _ in range(2):
        Ledger.open(tmp_path / "ledger.sqlite", netuid=1, competition="f127", hotkey="one").close()
        [said] = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert "(nfs4 at" in said.getMessage()
        assert "--data_dir" in said.getMessage()
        caplog.clear()


def test_ledger_where_sqlite_is_refused_its_log_says_so_and_leaves_no_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite then keeps its older journal, and says so only if asked. It does the same with its own file
    layer without locks, ``unix-none``, which stands here for such a file system.
    """

    def connect(location: Path, *, read_only: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{location}?vfs=unix-none", uri=True, isolation_level=None)
        connection.row_factory = sqlite3.Row
        return connection

    monkeypatch.setattr(database, "_connect", connect)
    with pytest.raises(LedgerError, match="write-ahead log") as caught:
        Ledger.open(tmp_path / "ledger.sqlite", netuid=1, competition="f127", hotkey="one")
    assert "--data_dir" in caught.value.remedy


@pytest.mark.parametrize(
    "name", ["SQLITE_IOERR_SHMMAP", "SQLITE_IOERR_SHMOPEN", "SQLITE_IOERR_LOCK", "SQLITE_PROTOCOL"]
)
def test_errors_of_shared_memory_and_locks_point_to_the_file_system(name: str) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = name
    with pytest.raises(LedgerError, match="share memory and locks") as caught, database.translated(Path("x")):
        raise error
    assert "--data_dir" in caught.value.remedy
