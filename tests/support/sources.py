"""The product's syntax trees, each parsed and walked once in a process."""

import ast
import gc
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from flockoff.flags import PROJECT_ROOT

Node = TypeVar("Node", bound=ast.AST)


@cache
def modules() -> dict[str, ast.Module]:
    """Every module's syntax tree, by its path from the root."""
    paths = [*(PROJECT_ROOT / "flockoff").rglob("*.py"), *(PROJECT_ROOT / "neurons").rglob("*.py")]
    with _garbage_left():
        return {
            path.relative_to(PROJECT_ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
            for path in paths
        }


def nodes(kind: type[Node], below: str = "") -> Iterator[tuple[str, Node]]:
    """All nodes of a kind in the modules whose paths begin with ``below``, each with its module's path."""
    for path, kinds in _nodes().items():
        if path.startswith(below):
            for node in kinds[kind]:
                assert isinstance(node, kind)
                yield path, node


def dotted(node: ast.expr) -> str:
    """A name with its attributes, as it is written; "" for what is more than that."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name) if above := dotted(value):
            return f"{above}.{name}"
    return ""


@cache
def _nodes() -> dict[str, defaultdict[type[ast.AST], list[ast.AST]]]:
    """By path and kind."""
    found: dict[str, defaultdict[type[ast.AST], list[ast.AST]]] = {}
    with _garbage_left():
        for path, tree in modules().items():
            kinds = found[path] = defaultdict(list)
            for node in ast.walk(tree):
                kinds[type(node)].append(node)
    return found


@contextmanager
def _garbage_left() -> Iterator[None]:
    """A quarter of a million nodes, none of them garbage: looking for it takes twice as long as the rest."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
