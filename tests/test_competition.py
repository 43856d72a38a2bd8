import hashlib
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.competition import (
    BaseModel,
    Competition,
    Contamination,
    EvaluationSet,
    Limits,
    Lora,
    Overlap,
    PublicSample,
    Queue,
    Scoring,
    SealedSet,
    Training,
    competition_hash,
    load_competition,
)
from flockoff.errors import UsageError
from flockoff.flags import PROJECT_ROOT

SEALED = f"[sealed]\nrepo = 'a/b'\ncommit = '{'c' * 40}'\nsha256 = '{'d' * 64}'\nweight = 0.25"


def written(directory: Path, text: str) -> Path:
    file = directory / "competition.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_competition_defaults_are_flock_offs_own() -> None:
    competition = load_competition(None)
    assert competition.id == "f127"
    assert competition.base_model.repo == "Qwen/Qwen2.5-1.5B-Instruct"
    assert (competition.lora.rank, competition.lora.alpha, competition.lora.dropout) == (16, 32, 0.1)
    assert competition.training.rows_per_step == 8
    assert competition.queue.size == 32


def test_competition_pins_the_shipped_evaluation_set() -> None:
    shipped = (PROJECT_ROOT / "eval_data" / "data.jsonl").read_bytes()
    assert Competition().evaluation.sha256 == hashlib.sha256(shipped).hexdigest()


def test_competition_file_changes_only_what_it_names(tmp_path: Path) -> None:
    file = written(
        tmp_path, 'id = "small"\n[training]\nepochs = 1\nlearning_rate = 1\n[evaluation]\nrows = 4\n'
    )
    competition = load_competition(file)
    assert competition.id == "small"
    assert competition.training.epochs == 1
    assert competition.training.learning_rate == 1.0
    assert competition.evaluation.rows == 4
    assert competition.lora == Competition().lora


def test_competition_hash_depends_on_the_rules_and_not_on_how_they_are_written(tmp_path: Path) -> None:
    first = load_competition(written(tmp_path, "id = 'mine'\n[scoring]\ntemperature = 1\n[lora]\nrank = 8"))
    again = load_competition(written(tmp_path, "[lora]\nrank=8\n[scoring]\ntemperature = 1.0"))
    assert competition_hash(first) == competition_hash(replace(again, id="mine"))
    assert competition_hash(first) != competition_hash(again)
    assert len(competition_hash(Competition())) == 64
    assert competition_hash(load_competition(None)) == competition_hash(Competition())


@pytest.mark.parametrize("field", [field.name for field in fields(Competition)])
def test_competition_hash_covers_every_table(field: str) -> None:
    other = {
        "id": "other",
        "sealed": SealedSet(repo="a/b", commit="c" * 40, sha256="d" * 64, weight=0.25),
        "base_model": BaseModel(revision="e" * 40),
        "lora": Lora(rank=1),
        "training": Training(epochs=1),
        "evaluation": EvaluationSet(rows=1),
        "limits": Limits(max_rows=1),
        "contamination": Contamination(max_rows=1),
        "overlap": Overlap(max_share=0.1),
        "scoring": Scoring(temperature=1.0),
        "queue": Queue(best=1),
    }
    changed = Competition(**{field: other[field]})  # type: ignore[arg-type]
    assert competition_hash(changed) != competition_hash(Competition())


def test_competition_sealed_set_is_there_only_where_it_is_named(tmp_path: Path) -> None:
    sealed = load_competition(written(tmp_path, SEALED)).sealed
    assert sealed == SealedSet(repo="a/b", commit="c" * 40, sha256="d" * 64, weight=0.25)
    assert sealed.blend(public=2.0, sealed=3.0) == 2.25
    assert load_competition(None).sealed is None


def test_competition_public_sample_is_there_only_where_it_is_named(tmp_path: Path) -> None:
    table = f"[overlap]\nmax_share = 0.3\n[overlap.public]\nrepo = 'a/b'\ncommit = '{'c' * 40}'\n"
    overlap = load_competition(written(tmp_path, f"{table}sha256 = '{'d' * 64}'")).overlap
    assert overlap.max_share == 0.3
    assert overlap.public == PublicSample(repo="a/b", commit="c" * 40, sha256="d" * 64)
    assert load_competition(None).overlap.public is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[overlap]\nmax_share = 1.5", "overlap.max_share must be in"),
        ("[overlap]\ncommon_owners = 0", "overlap.common_owners must be at least 1"),
        ("[overlap]\nwitness_share = -1", "overlap.witness_share must be in"),
        ("id = ", "not valid TOML"),
        ("idd = 'x'", "unknown key 'idd'"),
        ("[training]\nepoch = 1", "unknown key 'epoch'"),
        ("[training]\nepochs = 'two'", "must be of type int"),
        ("[training]\nepochs = true", "must be of type int"),
        ("training = 1", "must be a table"),
        ("[training]\nepochs = 0", "at least 1"),
        ("[queue]\ndrawn = -1", "queue.drawn must not be negative"),
        ("[queue]\nbest = -1", "queue.best must not be negative"),
        ("[training]\nlearning_rate = 1e3", "training.learning_rate must be above 0 and at most 1"),
        ("[training]\nlearning_rate = nan", "training.learning_rate must be"),
        ("[training]\nweight_decay = -1", "training.weight_decay must not be negative"),
        ("[training]\nmax_grad_norm = inf", "training.max_grad_norm must be positive"),
        ("[lora]\ndropout = 1.0", "lora.dropout"),
        ("[base_model]\nrevision = 'main'", "40-hex"),
        ("[base_model]\npackage = 'x'", "gguf_file"),
        ("[evaluation]\nrepo = 'a/b'", "go together"),
        ("id = 'a:b'", "id must be"),
        ("sealed = 1", "must be a table"),
        ("[sealed]\nrepo = 'a/b'", "'commit' is missing"),
        (SEALED.replace("0.25", "0"), "sealed.weight"),
        (SEALED.replace("0.25", "1.5"), "sealed.weight"),
        (SEALED.replace("c" * 40, "main"), "sealed.commit"),
        (SEALED.replace("d" * 64, "d" * 40), "sealed.sha256"),
    ],
)
def test_competition_file_wrong_is_a_usage_error_that_says_why(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_competition(written(tmp_path, text))


def test_competition_file_missing_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no competition file"):
        load_competition(tmp_path / "none.toml")


@given(st.integers(1, 300))
def test_queue_of_any_size_has_that_many_places_and_one_for_the_waiting(size: int) -> None:
    queue = Queue().of_size(size)
    assert queue.size == size
    assert queue.waiting >= 1


def test_queue_of_half_the_size_halves_every_share() -> None:
    queue = Queue().of_size(16)
    assert (queue.best, queue.drawn, queue.waiting) == (4, 8, 4)
