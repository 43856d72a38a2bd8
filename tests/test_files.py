"""Files that people write or name."""

import errno
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from flockoff import files
from flockoff.errors import UsageError
from flockoff.files import MAX_BYTES, hand_written, remedy_for


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize(
    ("name", "whose", "remedy"),
    [
        ("private/file", "private", "Let this user read it, or run this as its owner."),
        ("unread", "unread", "Let this user read it, or run this as its owner."),
        ("read", "read", "Let this user write there, run this as its owner, or choose another place."),
        ("new/file", "", "Let this user write there, run this as its owner, or choose another place."),
    ],
)
def test_remedy_for_another_users_file_names_what_is_in_the_way(name: str, whose: str, remedy: str) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folders are root's alone
    try:
        folder.chmod(0o755)
        (folder / "private").mkdir(0o700)
        for file, mode in (("private/file", 0o644), ("unread", 0o600), ("read", 0o644)):
            (folder / file).touch()
            (folder / file).chmod(mode)
        os.seteuid(10001)
        try:
            said = remedy_for(PermissionError(errno.EACCES, "Permission denied"), str(folder / name))
        finally:
            os.seteuid(0)
    finally:
        shutil.rmtree(folder)
    place = folder / whose if whose else folder
    assert said == f"{place} belongs to user 0, and this program runs as user 10001. {remedy}"


def test_hand_written_file_is_read_without_its_mark(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    assert hand_written(file) is None and hand_written(file / "below") is None
    file.write_bytes(b"\xef\xbb\xbfA=\xc3\xa9\n")
    assert hand_written(file) == "A=é\n"
    assert hand_written(file / "below") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("A=é".encode("utf-16"), "is not UTF-8 text. Save it as UTF-8."),
        ("A=é".encode("latin-1"), "is not UTF-8 text. Save it as UTF-8."),
        (b"#" * (MAX_BYTES + 1), "is larger than 1 MiB. Check that it is the file you mean."),
    ],
)
def test_hand_written_file_that_is_no_such_text_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        hand_written(file)
    assert str(caught.value) == f"{file} {said}"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("file", "Cannot read {}: Too many levels of symbolic links. Its symbolic links form a loop."),
        (".", "Cannot read {}: Is a directory. Give a file; this is a folder."),
        ("/dev/zero", "{} is larger than 1 MiB. Check that it is the file you mean."),
    ],
)
def test_hand_written_file_that_is_something_else_is_refused(target: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.symlink_to(target)
    with pytest.raises(UsageError) as caught:
        hand_written(file)
    assert str(caught.value) == said.format(file)


def test_hand_written_device_without_content_is_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(os.devnull)
    assert hand_written(tmp_path / ".env") == ""


def test_hand_written_pipe_is_read_once_somebody_writes_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("A=1\n" * 30_000, encoding="utf-8"))
    writer.start()
    assert hand_written(pipe) == "A=1\n" * 30_000
    writer.join()
    monkeypatch.setattr(files, "_PIPE_SECONDS", 0.01)
    with pytest.raises(UsageError, match="is not a regular file, and nothing came from it in 0 s"):
        hand_written(pipe)
