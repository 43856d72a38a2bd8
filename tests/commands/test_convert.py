"""``flockoff convert``: common formats to the competition's; omissions are reported."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from typer.testing import Result

from flockoff.commands import convert
from flockoff.competition import Limits
from flockoff.dataset import check_format
from tests.support.playground import Playground

SAID = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho, dé"}]
ROW = {"system": None, "conversations": SAID}
KIND = {"system": "Be kind.", "conversations": SAID}
SHARE_GPT = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho, dé"}]
PARTS = [SAID[0] | {"content": [{"type": "text", "text": "Hi"}]}, SAID[1]]


@pytest.mark.parametrize(
    ("record", "row"),
    [
        (ROW, ROW),
        ({"id": 7, "messages": SAID}, ROW),
        ({"messages": [{"role": "system", "content": "Be kind."}, *SAID]}, KIND),
        ({"messages": PARTS}, ROW),
        ({"messages": [*SAID, {"role": "user", "content": "And?"}]}, ROW),
        ({"conversations": SHARE_GPT}, ROW),
        ({"conversations": SHARE_GPT, "system": "Be kind."}, KIND),
        ({"instruction": "Hi", "input": "", "output": "Ho, dé"}, ROW),
        ({"prompt": "Hi", "completion": "Ho, dé"}, ROW),
        ({"question": "Hi", "answer": "Ho, dé"}, ROW),
    ],
)
@pytest.mark.parametrize("form", ["lines", "array"])
def test_convert_knows_a_format(
    record: object, row: object, form: str, command: Callable[..., Result], tmp_path: Path
) -> None:
    source, out = tmp_path / "source.json", tmp_path / "new" / "data.jsonl"
    source.write_text(json.dumps([record] if form == "array" else record), encoding="utf-8")
    done = command("convert", str(source), "--out", str(out))
    assert done.exit_code == 0 and f"{out}: 1 row. Next: flockoff check {out}" in done.stdout
    assert json.loads(out.read_text(encoding="utf-8")) == row
    assert check_format(out, Limits()).problems == ()


def test_convert_tells_what_it_left_out_and_why(command: Callable[..., Result], tmp_path: Path) -> None:
    source, out = tmp_path / "source.jsonl", tmp_path / "data.jsonl"
    records: list[object] = [
        ROW,
        {"text": "Hi"},
        {"text": "Ho"},
        {"prompt": " ", "completion": "x"},
        {"messages": []},
    ]
    records += [{"messages": [SAID[1]]}, {"messages": [{"role": "tool", "content": "x"}]}, ["Hi"]]
    records.append({"prompt": "\ud800", "completion": "x"})
    source.write_text("\n".join(map(json.dumps, records)) + "\n{not json\n", encoding="utf-8")
    told = json.loads(command("convert", str(source), "-o", str(out), "--json").stdout)
    assert told["rows"] == 1
    assert told["dropped"] == {
        "none of the known formats": 2,
        "a blank content": 1,
        "no assistant turn": 1,
        "turns that do not alternate, starting with the user": 1,
        "a role that is neither the user's, the assistant's nor the system's": 1,
        "not an object": 2,
        "a lone surrogate, which is no character": 1,
    }


@pytest.mark.slow
def test_convert_reads_csv_and_parquet(command: Callable[..., Result], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist([{"messages": SAID}] * 300)
    parquet.write_table(table, tmp_path / "a.parquet")
    with (tmp_path / "b.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["instruction", "output"], ["Hi,\nyou", "Ho"]])
    for name, rows in (("a.parquet", 300), ("b.csv", 1)):
        out = tmp_path / f"{name}.jsonl"
        told = json.loads(command("convert", str(tmp_path / name), "-o", str(out), "--json").stdout)
        assert (told["rows"], told["dropped"]) == (rows, {})
        assert len(out.read_text(encoding="utf-8").splitlines()) == rows


def test_convert_reads_objects_that_are_spread_over_lines(
    command: Callable[..., Result], tmp_path: Path
) -> None:
    source, out = tmp_path / "source.json", tmp_path / "data.jsonl"
    source.write_text(
        "\n".join([json.dumps({"conversations": SHARE_GPT}, indent=2)] * 2) + "\n", encoding="utf-8"
    )
    assert command("convert", str(source), "--out", str(out)).exit_code == 0
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == [ROW, ROW]


def test_convert_replaces_nothing_unasked_and_leaves_nothing_behind(
    command: Callable[..., Result], tmp_path: Path
) -> None:
    source, out = tmp_path / "source.jsonl", tmp_path / "data.jsonl"
    source.write_text('{"text": "x"}\n', encoding="utf-8")
    out.write_text("mine", encoding="utf-8")
    done = command("convert", str(source), "--out", str(out))
    assert (done.exit_code, out.read_text(encoding="utf-8")) == (2, "mine")
    assert "already exists. Name another file, or add --overwrite." in done.stderr
    assert command("convert", str(source), "--out", str(out), "--overwrite").exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "source.jsonl"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[1,", "cannot be read: Expecting value"),
        (b"\xff\xfe\x00", "is UTF-16 text. Unpack it, or save it as UTF-8."),
        (b"\x1f\x8b\x08", "is gzip-compressed. Unpack it, or save it as UTF-8."),
        ("[é]".encode("latin-1"), "is not UTF-8 text. Save it as UTF-8."),
        (b"PAR1 and then the connection broke", "cannot be read: Parquet magic bytes not found in footer"),
        (b"a" * 1000, "has a line of more than"),
        (b"[1, " + b"2" * 100 + b"]", "is a JSON array of more than 0 MiB. Write one record a line: jq"),
    ],
)
def test_convert_of_what_is_no_data_says_so(
    content: bytes,
    said: str,
    command: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Small limits, because files beyond the real ones take seconds to write and read.
    monkeypatch.setattr(convert, "_MAX_LINE", 500)
    monkeypatch.setattr(convert, "_MAX_ARRAY", 100)
    source, out = tmp_path / "source.json", tmp_path / "out.jsonl"
    source.write_bytes(content)
    done = command("convert", str(source), "--out", str(out))
    assert done.exit_code == 2 and done.stderr.startswith(f"{source} {said}"), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source.json"]


@pytest.mark.slow
def test_convert_of_a_hub_dataset_takes_its_train_files(
    playground: Playground, command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = HfApi(playground.hub.endpoint, token=playground.hub.add_user("lab"))
    api.create_repo("lab/chats", repo_type="dataset", private=True)
    contents = {"data/train-0.jsonl": ROW, "data/train-1.json": [KIND], "data/test-0.jsonl": ROW}
    operations = [CommitOperationAdd(name, json.dumps(told).encode()) for name, told in contents.items()]
    api.create_commit("lab/chats", operations, commit_message="chats", repo_type="dataset")
    monkeypatch.setenv("HF_ENDPOINT", playground.hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", playground.hub.add_user("lab"))
    out = tmp_path / "data.jsonl"
    for source in ("lab/chats", "hf://datasets/lab/chats"):
        done = command("convert", source, "-o", str(out), "--overwrite")
        assert done.exit_code == 0 and "2 rows" in done.stdout
        assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == [ROW, KIND]
    done = command("convert", "lab/chats", "--split", "test", "-o", str(out), "--overwrite", "--json")
    assert json.loads(done.stdout)["rows"] == 1
    done = command("convert", "lab/chats", "--split", "dev", "-o", str(out), "--overwrite")
    assert done.stderr.startswith(
        "lab/chats has no file of 'dev'. Its files are data/test-0.jsonl, data/train-0"
    )

    missing = command("convert", "lab/nothing", "-o", str(out), "--overwrite")
    assert missing.exit_code == 1 and "The hub has no dataset lab/nothing" in missing.stderr
    assert "The hub" not in command("convert", "lab/nowhere.jsonl").stderr


@pytest.mark.slow
def test_convert_of_a_hub_dataset_reads_its_parquet_in_several_files(
    playground: Playground, command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table
    kept = [{"messages": [SAID[0], {"role": "assistant", "content": f"Answer {n}."}]} for n in range(250)]
    api = HfApi(playground.hub.endpoint, token=playground.hub.add_user("lab"))
    api.create_repo("lab/tables", repo_type="dataset", private=True)
    operations = []
    for name, records in (("train-0", kept[:200]), ("train-1", [*kept[200:], {"messages": []}])):
        file = tmp_path / f"{name}.parquet"
        parquet.write_table(table.from_pylist(records), file, row_group_size=64)
        operations.append(CommitOperationAdd(f"data/{file.name}", file))
    api.create_commit("lab/tables", operations, commit_message="tables", repo_type="dataset")
    monkeypatch.setenv("HF_ENDPOINT", playground.hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", playground.hub.add_user("lab"))
    out = tmp_path / "data.jsonl"
    done = command("convert", "lab/tables", "-o", str(out), "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["rows"], sum(told["dropped"].values())) == (0, 250, 1), done.stderr
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["conversations"] for row in rows] == [each["messages"] for each in kept]
