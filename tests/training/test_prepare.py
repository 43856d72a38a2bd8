import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from flockoff.competition import BaseModel
from flockoff.errors import SetupError
from flockoff.training.prepare import _move_into_place, resolve_base_model


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaseModel:
    """A package with a file that is not GGUF."""
    package = tmp_path / "site" / "carrier"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('was imported')", encoding="utf-8")
    (package / "model.gguf").write_bytes(b"not a model")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    digest = sha256(b"not a model").hexdigest()
    return BaseModel(package="carrier", gguf_file="model.gguf", gguf_sha256=digest)


def test_resolve_base_model_converted_before_is_used_as_it_is(base: BaseModel, tmp_path: Path) -> None:
    assert base.gguf_sha256 is not None
    directory = tmp_path / f"model-{base.gguf_sha256[:16]}-1"
    directory.mkdir()
    assert resolve_base_model(replace(base, package="absent"), tmp_path) == directory


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"package": "absent"}, "The package absent.* is not installed"),
        ({"gguf_file": "other.gguf"}, "has no file other.gguf"),
        ({"gguf_sha256": "0" * 64}, "is not the base model's file"),
    ],
)
def test_resolve_base_model_without_the_pinned_file_says_why(
    base: BaseModel, tmp_path: Path, change: dict[str, str], complaint: str
) -> None:
    with pytest.raises(SetupError, match=complaint):
        resolve_base_model(replace(base, **change), tmp_path / "cache")


def test_resolve_base_model_where_nothing_can_be_kept_says_so_before_any_work(
    base: BaseModel, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"cannot be kept in .*file/cache: .* --cache_dir"):
        resolve_base_model(base, tmp_path / "file" / "cache")


def test_resolve_base_model_failed_conversion_leaves_nothing(base: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"Converting .* failed: it ends before its header"):
        resolve_base_model(base, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_move_into_place_second_of_two_processes_gives_way(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
        _move_into_place(tmp_path / name, directory)
    assert (directory / "weights").read_text() == "first"
    assert sorted(tmp_path.iterdir()) == [directory]
