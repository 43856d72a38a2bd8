"""Checks of the source: SQL takes values only as parameters, and no command can be injected.

These read syntax trees, so they see every line, also those that no test runs.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.sources import dotted, nodes

SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|PRAGMA|BEGIN|WHERE|JOIN|CREATE|DROP|ALTER)\b")
HTML = re.compile(r"<[a-zA-Z!/]")
# What f-strings of SQL may put in besides constants: text written in the ledger's own code, and a version.
SQL_PARTS = {"which", "script", "version", "order", "', '.join('?' * len(kinds))"}
# Parameters among them, by the method whose callers must give them as they are written.
SQL_PARAMETERS = {"_weights": "which"}
# Functions that run text or bytes as code, or give a shell something to do.
RUNNERS = {"eval", "exec", "compile", "__import__"}
RUNNERS |= {f"os.{name}" for name in ("system", "popen", "startfile")}
RUNNERS |= {
    f"{module}.{name}" for module in ("pickle", "marshal", "dill", "torch") for name in ("load", "loads")
}
RUNNERS |= {"yaml.load", "shelve.open", "subprocess.getoutput", "subprocess.getstatusoutput"}
STARTERS = {f"subprocess.{name}" for name in ("run", "Popen", "call", "check_call", "check_output")}


def calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls of these functions, by their names as they are written."""
    for path, node in nodes(ast.Call):
        if dotted(node.func) in names:
            yield f"{path}:{node.lineno}", node


def keywords(call: ast.Call) -> dict[str | None, ast.expr]:
    return {keyword.arg: keyword.value for keyword in call.keywords}


def text_of(node: ast.JoinedStr) -> str:
    return "".join(
        part.value for part in node.values if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


def test_source_sql_takes_no_text_from_outside() -> None:
    strays = [
        f"{path}:{node.lineno}: {ast.unparse(part.value)}"
        for path, node in nodes(ast.JoinedStr, "flockoff/ledger")
        if SQL.search(text_of(node))
        for part in node.values
        if isinstance(part, ast.FormattedValue)
        and (name := ast.unparse(part.value)) not in SQL_PARTS
        and not re.fullmatch(r"_?[A-Z][A-Z_]+", name)
    ]
    assert strays == []


def test_source_sql_is_not_put_together_in_other_ways() -> None:
    strays = [
        f"{path}:{node.lineno}"
        for path, node in nodes(ast.BinOp, "flockoff/ledger")
        for side in (node.left, node.right)
        if isinstance(side, ast.Constant) and isinstance(side.value, str) and SQL.search(side.value)
    ]
    strays += [
        f"{path}:{node.lineno}"
        for path, node in nodes(ast.Call, "flockoff/ledger")
        if isinstance(node.func, ast.Attribute)
        and node.func.attr in ("format", "replace", "join")
        and SQL.search(ast.unparse(node.func.value))
    ]
    assert strays == []


@pytest.mark.parametrize(("method", "parameter"), SQL_PARAMETERS.items())
def test_source_sql_parts_that_are_parameters_are_written_where_they_are_given(
    method: str, parameter: str
) -> None:
    found = list(calls(f"self.{method}"))
    assert found
    for place, call in found:
        assert isinstance(call.args[0], ast.Constant), f"{place}: {parameter}"


def test_source_runs_no_text_as_code() -> None:
    assert [place for place, _ in calls(*RUNNERS)] == []


def test_source_starts_processes_without_a_shell_an_open_stdin_or_more_environment_than_meant() -> None:
    found = list(calls(*STARTERS))
    assert found
    for place, call in found:
        given = keywords(call)
        assert "shell" not in given, place
        assert None not in given, f"{place}: ** may hold anything"
        assert {"env", "stdin"} <= given.keys(), place


def test_source_models_bring_no_code() -> None:
    trusted = [
        f"{path}:{node.lineno}"
        for path, node in nodes(ast.keyword)
        if node.arg in ("trust_remote_code", "use_safetensors")
        and ast.unparse(node.value) != str(node.arg == "use_safetensors")
    ]
    assert trusted == []


def test_source_puts_no_text_into_html() -> None:
    strays = [f"{path}:{node.lineno}" for path, node in nodes(ast.JoinedStr) if HTML.search(text_of(node))]
    assert strays == []


def test_source_takes_temporary_files_that_no_one_else_can_guess() -> None:
    assert list(calls("tempfile.mktemp", "os.tmpnam", "os.tempnam")) == []
