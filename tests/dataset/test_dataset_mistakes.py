"""Each common mistake is reported with its remedy, once for all rows."""

import json
from pathlib import Path

import pytest

from flockoff.competition import Limits
from flockoff.dataset import check_format

GOOD = json.dumps(
    {
        "system": None,
        "conversations": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
    }
)
MESSAGES = json.dumps(
    {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]}
)
SHARE_GPT = json.dumps({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]})

CASES = {
    "OpenAI": (MESSAGES, "OpenAI's `messages` format", "flockoff convert"),
    "ShareGPT": (SHARE_GPT, "ShareGPT's format", "flockoff convert"),
    "Alpaca": (
        '{"instruction": "Add", "input": "", "output": "2"}',
        "Alpaca's format",
        "flockoff convert",
    ),
    "completion": (
        '{"prompt": "a", "completion": "b"}',
        "prompt and completion",
        "flockoff convert",
    ),
    "comma at the end": (GOOD + ",", "an extra comma", "Remove it."),
    "comma in a list": (GOOD.replace("]", ",]"), "an extra comma", "Remove it."),
    "no-break space": (GOOD.replace(": null", ":\u00a0null"), "a no-break space", "Replace it"),
    "Python": (str(json.loads(GOOD)), "Python's notation", "json.dumps"),
    "Cyrillic": (GOOD.replace("user", "us\u0435r"), "only looks like", "Retype the role"),
    "system turn": (GOOD.replace('"user"', '"system"'), "a turn of the role 'system'", "own key 'system'"),
    "several keys": (GOOD.replace("{", '{"id": 1, "source": "x", ', 1), "'id', 'source'", "Remove them"),
}


def write(folder: Path, *lines: str) -> Path:
    file = folder / "data.jsonl"
    file.write_bytes("\n".join(lines).encode())
    return file


@pytest.mark.parametrize("name", CASES)
def test_mistake_is_named_once_with_its_remedy(name: str, tmp_path: Path) -> None:
    line, what, remedy = CASES[name]
    found = check_format(write(tmp_path, GOOD, line, GOOD, line), Limits())
    [mistake] = found.mistakes
    assert (found.rows, len(found.problems)) == (4, 2)
    assert what in mistake.what and remedy in mistake.remedy
    assert (mistake.count, mistake.lines) == (2, (2, 4))
    assert str(mistake).startswith("2 rows (lines 2, 4): ")


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "git-LFS pointer",
            "git lfs pull",
        ),
        (f"[{GOOD}]\n", "a JSON array", "jq -c '.[]'"),
        (json.dumps(json.loads(GOOD), indent=1), "JSON spread over several lines", "jq -c"),
        (f"{GOOD}\n\ufeff{GOOD}\n", "a byte order mark inside the file", "sed"),
    ],
)
def test_mistake_of_the_whole_file_is_named_first(text: str, what: str, remedy: str, tmp_path: Path) -> None:
    found = check_format(write(tmp_path, text), Limits())
    assert what in found.mistakes[0].what and remedy in found.mistakes[0].remedy


def test_mistake_of_no_known_kind_is_told_as_a_validator_would(tmp_path: Path) -> None:
    found = check_format(write(tmp_path, '{"conversations": []}'), Limits())
    assert [str(each) for each in found.mistakes] == ["line 1: no_turns: 'conversations' is empty."]


def test_mistakes_of_a_sound_file_are_none(tmp_path: Path) -> None:
    assert check_format(write(tmp_path, GOOD, GOOD), Limits()).mistakes == ()


def test_mistakes_of_a_hostile_line_are_told_in_bounded_memory(tmp_path: Path) -> None:
    found = check_format(write(tmp_path, GOOD, "[" * 5_000_000, GOOD, "x"), Limits())
    assert [problem.line for problem in found.problems] == [2, 4]
    assert found.mistakes[-1].lines == (4,)


def test_count_of_a_file_that_is_no_text_names_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes("{}".encode("utf-16"))
    assert check_format(path, Limits()).count == "1 problem"
    assert check_format(write(tmp_path, GOOD, "{}"), Limits()).count == "1 problem in 2 rows"
