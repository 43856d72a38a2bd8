from pathlib import Path

import pytest

from flockoff.errors import SetupError
from flockoff.hub.files import Digest, RemoteFile, digest_of

HELLO = Digest(
    size=6,
    sha256="5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",  # sha256sum
    git_sha1="ce013625030ba8dba906f756967f9e9ca394464a",  # git hash-object
)


def test_digest_of_file_agrees_with_git_and_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert digest_of(tmp_path / "hello") == HELLO


def test_digest_of_missing_file_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="Cannot read"):
        digest_of(tmp_path / "none")


@pytest.mark.parametrize(
    ("size", "sha256", "git_sha1", "same"),
    [
        (6, None, HELLO.git_sha1, True),
        (6, HELLO.sha256, None, True),
        (7, HELLO.sha256, None, False),
        (6, "0" * 64, None, False),
        (6, None, "0" * 40, False),
        (6, None, None, False),
    ],
)
def test_is_same_needs_size_and_the_hash_that_the_hub_gives(
    size: int, sha256: str | None, git_sha1: str | None, same: bool
) -> None:
    assert RemoteFile("f", "http://hub/f", size, sha256, git_sha1).is_same(HELLO) is same
