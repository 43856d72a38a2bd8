"""A ledger's content, without times and the order of recording."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

# Other columns that differ between runs which come to the same: where on the chain something happened, how
# often it was tried, and what follows from a ledger's own secret.
_DIFFERENT = {
    "epochs": {"closed_block"},
    "weights_sets": {"block", "extrinsic"},
    "sketch_key": {"key"},
    "sketches": {"answers"},
    "sights": {"tries"},
}

# References that the schema leaves undeclared, because checking them would cost too much.
_UNDECLARED = {"probes": {"content": "contents"}}

Row = tuple[object, ...]


def told(path: Path) -> Mapping[str, list[Row]]:
    """Every table's rows, sorted. Times are left out; a reference is replaced by the row it leads to."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        tables = [
            row["name"] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return {table: _rows(connection, table) for table in tables}


def _rows(connection: sqlite3.Connection, table: str) -> list[Row]:
    rows = [_resolved(connection, table, row) for row in connection.execute(f"SELECT * FROM {table}")]
    return sorted(rows, key=repr)


def _resolved(connection: sqlite3.Connection, table: str, row: sqlite3.Row) -> Row:
    declared = connection.execute(f"PRAGMA foreign_key_list({table})")
    leads_to = {key["from"]: key["table"] for key in declared} | _UNDECLARED.get(table, {})
    values: list[object] = []
    for column in row.keys():  # noqa: SIM118
        if column == "id" or column.endswith("_at") or column in _DIFFERENT.get(table, ()):
            continue
        is_reference = column in leads_to and row[column] is not None
        values.append(_target(connection, leads_to[column], row[column]) if is_reference else row[column])
    return tuple(values)


def _target(connection: sqlite3.Connection, table: str, key: object) -> Row:
    columns = connection.execute(f"PRAGMA table_info({table})")
    [primary] = [column["name"] for column in columns if column["pk"]]
    [row] = connection.execute(f"SELECT * FROM {table} WHERE {primary} = ?", (key,))
    return _resolved(connection, table, row)
