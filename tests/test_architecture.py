"""Imports go one way, foreign libraries stay behind their adapters, and the neurons stay thin."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.support.sources import dotted, modules, nodes

ROOT = Path(__file__).resolve().parent.parent

# A room imports only rooms of the lines above its own.
LAYERS = (
    ("errors", "text"),
    ("files", "surroundings", "records"),
    ("logs", "metrics", "fetching"),
    ("competition", "launch", "retry", "updates"),
    ("env_files",),
    ("ports", "flags", "pinned"),
    ("settings",),
    ("alerts",),
    ("scoring", "dataset", "planner", "yuma"),
    ("epoch",),
    ("standings",),
    ("watching",),
    ("tokens",),
    ("chain", "hub", "training", "ledger"),
    ("mine", "validate", "localnet", "tracking", "report", "cluster"),
    ("openers",),
    ("assemble",),
    ("doctor", "sealing"),
    ("demo", "simulate"),
    ("commands",),
    ("cli", "neurons"),
)
PURE_ROOMS = ("scoring", "dataset", "planner", "yuma", "epoch", "standings", "watching")
OPEN_TO_PURE_ROOMS = {"errors", "files", "records", "competition", "ports", "text", "numpy"}
BELOW = {
    "epoch": {"scoring", "dataset"},
    "standings": {"epoch"},
    "watching": {"standings"},
}  # pure themselves

# Only these rooms import these libraries; a library that is not here is free.
LIBRARIES = {
    ("chain", "localnet"): ("bittensor", "bittensor_core", "bittensor_wallet"),
    ("hub",): ("huggingface_hub",),
    ("alerts",): ("apprise",),
    ("cluster",): ("ray",),
    ("ledger",): ("sqlite3",),
    ("metrics",): ("prometheus_client",),
    ("simulate",): ("matplotlib",),
    ("tracking",): ("wandb",),
    ("localnet",): ("dulwich", "starlette", "uvicorn", "websockets"),
    ("tokens",): ("tokenizers",),
    ("tokens", "report"): ("jinja2",),
    ("training",): (
        "torch",
        "transformers",
        "peft",
        "trl",
        "datasets",
        "accelerate",
        "safetensors",
        "gguf",
        "triton",
    ),
}
OWNERS = {library: rooms for rooms, libraries in LIBRARIES.items() for library in libraries}
# All that is imported inside functions, and why: by package, or by a room's module that loads it.
LAZY = {
    "apprise": "only with --alert",
    "bittensor": "takes over a second",
    "fcntl": "not on Windows",
    "msvcrt": "on Windows only",
    "wandb": "an extra",
    "flockoff.chain.substrate": "loads bittensor",
    "flockoff.hub.remote": "loads huggingface_hub, which takes half a second",
    "flockoff.simulate.pictures": "loads matplotlib",
    "flockoff.training.examination": "loads torch",
    "flockoff.training.gguf_file": "loads gguf, for a model that is converted once",
    "flockoff.training.session": "loads torch, once the worker has its assignment",
}
MAX_NEURON_LINES = 100


def room_of(path: str) -> str:
    parts = path.removesuffix(".py").split("/")
    return parts[0] if parts[0] == "neurons" else parts[1]


def imported(path: str) -> Iterator[str]:
    """The rooms and the foreign packages that a module imports, wherever in it."""
    names = [alias.name for _, node in nodes(ast.Import, path) for alias in node.names]
    for _, node in nodes(ast.ImportFrom, path):
        assert node.level == 0, f"{path}:{node.lineno}: relative import"
        names += [f"{node.module}.{alias.name}" for alias in node.names]
    for name in names:
        top, *below = name.split(".")
        if top != "flockoff":
            yield top
        elif below and below[0] != "__version__":
            yield below[0]


@cache
def imports() -> tuple[tuple[str, str, str], ...]:
    """(path, room, what it imports from outside that room)"""
    return tuple(
        (path, room, name)
        for path in modules()
        if (room := room_of(path)) != "__init__"
        for name in imported(path)
        if name != room
    )


def test_architecture_public_class_names_are_unique() -> None:
    places: dict[str, list[str]] = {}
    for path, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_architecture_every_room_has_its_layer() -> None:
    rooms = {room_of(path) for path in modules()} - {"__init__"}
    assert rooms <= {room for layer in LAYERS for room in layer}


def test_architecture_readmes_tree_names_every_room() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text[text.index("neurons/miner.py   ") :]
    named = set(re.findall(r"^flockoff/(\w+)[./]", tree, re.MULTILINE)) | {"text"}  # which shares a line
    rooms = {room_of(path) for path in modules()} - {"__init__", "neurons"}
    assert named == rooms | {"ops"}


def test_architecture_imports_go_down_only() -> None:
    height = {room: number for number, layer in enumerate(LAYERS) for room in layer}
    upward = [
        f"{path} imports {name}" for path, room, name in imports() if height.get(name, -1) >= height[room]
    ]
    assert upward == []


def test_architecture_libraries_stay_with_their_owners() -> None:
    strays = [
        f"{path} imports {name}" for path, room, name in imports() if room not in OWNERS.get(name, (room,))
    ]
    assert strays == []


@pytest.mark.parametrize("room", PURE_ROOMS)
def test_architecture_pure_room_imports_the_standard_library_and_numpy(room: str) -> None:
    allowed = OPEN_TO_PURE_ROOMS | sys.stdlib_module_names | BELOW.get(room, set())
    foreign = [f"{path} imports {name}" for path, of, name in imports() if of == room and name not in allowed]
    assert foreign == []


def test_architecture_package_itself_imports_nothing() -> None:
    assert list(imported("flockoff/__init__.py")) == []


def is_declaration(statement: ast.stmt) -> bool:
    """Whether a module's statement only names things: a definition, a constant, an import or its guard."""
    match statement:
        case ast.Assign(targets=targets):
            return all(isinstance(name, ast.Name | ast.Tuple) for name in targets)
        case ast.If(test=test):
            return ast.unparse(test) in ("TYPE_CHECKING", "__name__ == '__main__'")
        case ast.Try(body=body, handlers=handlers):  # what is said where a dependency is missing
            leaves = all(ast.unparse(each.body[0]).startswith("sys.exit(") for each in handlers)
            return leaves and all(isinstance(each, ast.ImportFrom) for each in body)
        case ast.Expr(value=value):
            return isinstance(value, ast.Constant)
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return isinstance(statement, (ast.Import, ast.ImportFrom, ast.AnnAssign, ast.AugAssign, *definitions))


def test_architecture_importing_a_module_does_nothing() -> None:
    acting = [
        f"{path}:{statement.lineno}"
        for path, tree in modules().items()
        for statement in tree.body
        if not is_declaration(statement)
    ]
    assert acting == []


def outside_functions(statements: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """These statements and those in them, but for the bodies of functions."""
    for statement in statements:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            yield from outside_functions([*ast.iter_child_nodes(statement)])


def test_architecture_imports_inside_functions_have_a_reason() -> None:
    at_the_top = {node for tree in modules().values() for node in outside_functions(tree.body)}
    found = {alias.name for _, node in nodes(ast.Import) if node not in at_the_top for alias in node.names}
    found |= {node.module or "" for _, node in nodes(ast.ImportFrom) if node not in at_the_top}
    of_packages = {name if name.startswith("flockoff") else name.partition(".")[0] for name in found}
    assert of_packages == LAZY.keys()


def test_architecture_neurons_are_thin() -> None:
    long = [
        path
        for path in modules()
        if room_of(path) == "neurons"
        and len((ROOT / path).read_text(encoding="utf-8").splitlines()) > MAX_NEURON_LINES
    ]
    assert long == []


def test_architecture_commands_import_at_the_top() -> None:
    inside = [
        f"{path}:{node.lineno}"
        for path, tree in modules().items()
        if room_of(path) in ("cli", "commands")
        for statement in tree.body
        if not isinstance(statement, ast.Import | ast.ImportFrom)
        for node in ast.walk(statement)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert inside == []


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--show-completion", "bash"]])
def test_architecture_command_starts_without_any_room_or_heavy_library(arguments: list[str]) -> None:
    code = "import sys, flockoff.cli\ntry: flockoff.cli.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    loaded = set(done.stderr.split())
    assert done.returncode == 0 and "flockoff.cli" in loaded
    assert loaded & {*OWNERS, "numpy", "rich"} == set()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("flockoff.")}
    assert rooms == {
        "cli",
        "errors",
        "files",
        "flags",
        "launch",
        "logs",
        "records",
        "env_files",
        "surroundings",
        "text",
    }


@cache
def own_private_names(room: str) -> set[str]:
    """The private functions and attributes that a room's modules define."""
    found = set()
    for path in modules():
        if room_of(path) == room:
            found |= {node.name for _, node in nodes(ast.FunctionDef, path)}
            found |= {node.name for _, node in nodes(ast.AsyncFunctionDef, path)}
            found |= {
                node.attr
                for _, node in nodes(ast.Attribute, path)
                if isinstance(node.ctx, ast.Store) and dotted(node.value) == "self"
            }
            found |= {dotted(node.target) for _, node in nodes(ast.AnnAssign, path)}
    return found


def uses_private_parts(path: str) -> bool:
    """Whether a module touches private parts of what is not of its own room; ``os._exit`` is documented."""
    own = own_private_names(room_of(path)) | {"_exit"}
    parts = {node.attr for _, node in nodes(ast.Attribute, path)} - own
    for _, node in nodes(ast.ImportFrom, path):
        if node.module is not None and not node.module.startswith("flockoff"):
            parts |= {*node.module.split("."), *(alias.name for alias in node.names)}
    return any(re.match(r"_(?!_)", part) for part in parts)


def test_architecture_private_parts_of_libraries_are_used_in_one_file_each() -> None:
    found = {path for path in modules() if uses_private_parts(path)}
    assert found == {"flockoff/hub/library.py", "flockoff/training/together.py"}


@pytest.mark.slow
def test_architecture_miner_imports_nothing_that_only_a_validator_needs() -> None:
    code = "import sys, neurons.miner; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    loaded = set(done.stdout.split())
    heavy = {"torch", "transformers", "ray", "wandb", "sqlite3", "starlette", "prometheus_client"}
    assert loaded & heavy == set()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("flockoff.")}
    assert rooms & {"validate", "ledger", "report", "cluster", "tracking", "assemble", "scoring"} == set()
