"""Imports inside `nursery_tasks` point one way; this is the table of who may import whom, and the test that holds it.

A *room* is a module or folder right below the package; `brokers` is a corridor whose doors are rooms of their own. The
graph is read from the sources, not from a running interpreter, so that an import counts wherever it stands: at the top,
in a function, under `TYPE_CHECKING`.

Inside a room there is no table, but an order all the same: its modules import each other without a circle. A circle that only
type checkers see counts, too: its modules cannot be understood one by one.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "nursery_tasks"
SOURCES = Path(__file__).parent.parent / PACKAGE


@dataclass(frozen=True)
class Room:
    """What the modules of one room may import; the standard library is free except for `never`."""

    rooms: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()


def room(rooms: str = "", *, libraries: str = "", never: str = "") -> Room:
    return Room(frozenset(rooms.split()), frozenset(libraries.split()), frozenset(never.split()))


CLOCK_OR_DICE = "time random secrets uuid"
LOOPS = "asyncio"

# From the lowest room to the highest. `_version`, `errors` and `model` are open to all above them.
ROOMS: dict[str, Room] = {
    "_version": room(never=f"{CLOCK_OR_DICE} {LOOPS}"),
    "shown": room(never=f"{CLOCK_OR_DICE} {LOOPS}"),  # text from elsewhere, for a person to read
    "errors": room("shown", never=f"{CLOCK_OR_DICE} {LOOPS}"),
    "model": room("errors", libraries="msgspec", never=f"{CLOCK_OR_DICE} {LOOPS} threading"),
    # When things happen again, as data and arithmetic. What acts on it has a clock; this has none.
    "scheduling": room("errors model", libraries="msgspec astral", never=f"{CLOCK_OR_DICE} {LOOPS} threading"),
    "events": room("errors model", libraries="msgspec", never=LOOPS),
    "forks": room(never=LOOPS),  # what a forked child inherits and must not act on
    "loop": room("errors forks", libraries="anyio trio"),  # what AnyIO has no name for; trio late, for its clock
    # Programs that a handler starts. Any AnyIO program can use it: it knows nothing of apps, and a job only to ask for its end.
    "shell": room("errors model loop current forks", libraries="anyio"),
    # What a handler asks about itself; handlers run in any room.
    "current": room("errors model loop", libraries="anyio msgspec"),
    "middleware": room("errors", never=LOOPS),  # what users put around attempts and submissions
    "program": room("errors"),  # the program itself, or a process for its handlers
    "log_throttle": room(never=LOOPS),  # a warning that is not repeated all the time
    "brokers": room(),  # the folder's own __init__: a door, nothing behind it
    "brokers.common": room("errors model", libraries="msgspec", never=LOOPS),  # what several backends have in common
    "brokers.parts": room("model brokers.common", never=LOOPS),  # what a broker may be able to do beside its transitions
    "brokers.server": room("model", never=LOOPS),
    "brokers.steps": room("errors", never=LOOPS),  # what an event loop needs to carry a broker's calls itself
    "brokers.protocol": room("errors model brokers.common brokers.parts brokers.server brokers.steps", never=LOOPS),
    "brokers.outbox": room("brokers.parts"),
    "brokers.needed": room("errors brokers.protocol brokers.parts brokers.server"),
    # The state machine in Python; moments and tokens come from outside, and whoever calls it has the lock.
    # (msgspec, here and below, is for the model's records: changing one field of a struct is a function of msgspec.)
    "brokers.rules": room(
        "errors model brokers.protocol brokers.common", libraries="msgspec", never=f"{CLOCK_OR_DICE} {LOOPS} threading"
    ),
    # One backend each: plain blocking code and its one driver. They know neither each other nor who calls them.
    "brokers.memory": room("errors model brokers.protocol brokers.rules brokers.common", libraries="msgspec", never=LOOPS),
    "brokers.sqlite": room(
        "errors model forks log_throttle brokers.common brokers.protocol", libraries="msgspec apsw", never=LOOPS
    ),
    "brokers.redis": room(
        "errors model forks brokers.common brokers.protocol brokers.steps",
        libraries="msgspec redis hiredis",
        never=LOOPS,
    ),
    "brokers.amqp": room(  # its driver only knows asyncio; it gets its store from whoever opens it
        "shown log_throttle errors model forks brokers.protocol brokers.needed brokers.parts brokers.rules brokers.common",
        libraries="msgspec aiormq pamqp",
    ),
    "brokers.installed": room("shown errors forks brokers.protocol"),  # brokers that other packages bring
    "brokers.url": room("shown errors model forks brokers.protocol brokers.server brokers.installed"),
    # The border between blocking and async code: inwards one door, outwards hints.
    "brokers.hint_relay": room("model loop"),
    "brokers.carrier": room("errors loop brokers.protocol brokers.steps", libraries="anyio"),
    "brokers.gateway": room(
        "errors model loop brokers.protocol brokers.parts brokers.needed brokers.common brokers.hint_relay brokers.carrier "
        "brokers.steps",
        libraries="anyio",
    ),
    "signature": room("errors model", libraries="msgspec"),
    "registry": room("errors model events signature program middleware", libraries="msgspec"),
    "client": room(
        "log_throttle loop errors model events forks current middleware brokers.protocol brokers.parts brokers.needed "
        "brokers.gateway registry scheduling",
        libraries="anyio msgspec",
    ),
    "resources": room("errors model current"),  # what a worker opens once, and how handlers get it
    "taskclass": room("errors model current"),  # tasks as classes
    # `task.enqueue()` returns a handle and `app` makes tasks: so `task` and `app` stand on `client`, not below it.
    "task": room("errors model events current registry resources client", libraries="anyio"),
    # The half of an app that needs no broker.
    "declaring": room("errors model middleware scheduling registry resources taskclass client task"),
    # Doors to the outside that have nothing but messages. (brokers.amqp and brokers.redis: their ways to a server)
    "channels": room(
        "shown errors model forks loop log_throttle brokers.amqp brokers.redis brokers.protocol",
        libraries="anyio msgspec redis aiormq pamqp h11",
    ),
    # Tasks that take and make messages, and what feeds them: built on the client, and run by a worker that does not know them.
    "stages": room(
        "errors model loop log_throttle current brokers.protocol brokers.needed brokers.outbox brokers.gateway channels "
        "registry client task declaring",
        libraries="anyio msgspec",
    ),
    "shared_broker": room("errors model forks program brokers.protocol brokers.url", libraries="anyio"),  # and what opens one
    # What is open in `async with app`.
    "app_scope": room("errors events forks brokers.protocol client channels shared_broker", libraries="anyio"),
    "app": room(
        "errors model events scheduling brokers.protocol brokers.needed brokers.gateway brokers.url "
        "program client declaring app_scope channels stages",
        libraries="anyio",
    ),
    # (registry: to find functions elsewhere)
    "execution": room("loop errors model forks current program registry", libraries="anyio msgspec"),
    "worker": room(
        "loop log_throttle shared_leases forks program _version errors model events current middleware brokers.protocol "
        "brokers.gateway brokers.needed brokers.outbox registry execution scheduling channels",
        libraries="anyio msgspec",
    ),
    # The leases that a worker process has, in memory that outlives it: the worker writes, the supervisor reads.
    "shared_leases": room(libraries="msgspec"),
    # Worker processes from outside: command lines, pipes and ends; it knows neither apps nor jobs.
    "supervisor": room("errors model loop shared_leases", libraries="anyio msgspec"),
    # (msgspec is for the records that a flow travels as.)
    "workflows": room(
        "loop shown errors model events current brokers.protocol registry client task app", libraries="anyio msgspec"
    ),
    "observability": room("shown errors model events current", libraries="opentelemetry prometheus_client"),
    # The package's __init__: the public names, and nothing that would make importing them slow.
    "__init__": room(
        "_version errors model scheduling events current shell resources taskclass registry client task app execution "
        "workflows builtin_tasks"
    ),
    # (late from `app`: what most programs never have)
    "builtin_tasks": room("_version errors model current shell app", libraries="anyio"),
    "limited_python": room(),  # a program of its own
    "demo": room("__init__", libraries="anyio"),  # an app like a user's
    # These three work with the public names. `testing` ships without pytest; trio is for its virtual clock.
    "testing": room(
        "__init__ errors model events current loop brokers.protocol brokers.needed brokers.parts brokers.server "
        "brokers.gateway brokers.url brokers.memory brokers.rules channels registry client task app execution worker workflows",
        libraries="anyio msgspec trio hypothesis",
    ),
    "web": room(  # (h11: hypercorn's parser)
        "__init__ _version shown errors model events loop registry client", libraries="anyio msgspec starlette hypercorn h11"
    ),
    "cli": room(  # (brokers.url and brokers.server: a server's users belong to no app)
        "__init__ _version shown errors model events forks loop current brokers.server brokers.url channels client app "
        "supervisor worker workflows observability web",
        libraries="anyio msgspec typer rich",
    ),
    "__main__": room("cli"),
}


@dataclass(frozen=True)
class Late:
    """An import against the direction, made inside a function so that it happens only when it is needed."""

    importer: str
    function: str | None  # None: any function of the room
    imported: str
    reason: str
    typed: bool = False  # its types may be named too, under TYPE_CHECKING: the function has them in its signature


LATE = [
    *(
        Late("brokers.url", None, broker, "a URL names its broker; only that one, with its driver, is loaded")
        for broker in ("brokers.memory", "brokers.sqlite", "brokers.redis", "brokers.amqp")
    ),
    Late("task", "attempt_local", "execution", "running here is a method of a task; a producer never loads what runs them"),
    Late("declaring", "_make_durable", "workflows", "what makes a function durable is built on tasks and handles"),
    Late("app", None, "workflows", "what workflows are made of is built on apps, which declare and serve them"),
    Late("app", "__init__", "builtin_tasks", "ready-made tasks are tasks like others; most apps have none", typed=True),
    Late("app", "asgi", "web", "serving is a method of App; a program that serves nothing loads nothing of it", typed=True),
    Late("app", "open_worker", "worker", "embedding is a method of App; a producer never loads the worker", typed=True),
]


@dataclass(frozen=True)
class Import:
    where: str  # file:line
    module: str  # dotted, absolute
    importer: str  # its room
    function: str | None  # the outermost one around the import
    typing_only: bool
    target: str  # dotted, absolute
    name: str | None  # the name taken from it, None for `import x`


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    parts = module.split(".")[1:]
    if not parts:
        return "__init__"
    return ".".join(parts[:2]) if parts[0] == "brokers" else parts[0]


class _Imports(ast.NodeVisitor):
    """Collect the imports of one module, each with the function that it stands in."""

    def __init__(self, path: Path, root: Path, modules: frozenset[str]) -> None:
        self.path, self.root, self.modules = path, root, modules
        self.module = module_name(path, root)
        self.function: str | None = None
        self.typing_only = False
        self.found: list[Import] = []

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer, self.function = self.function, self.function or node.name
        self.generic_visit(node)
        self.function = outer

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        before, self.typing_only = self.typing_only, self.typing_only or "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body:
            self.visit(statement)
        self.typing_only = before
        for statement in node.orelse:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(node, alias.name, None)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self._absolute(node)
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            if submodule in self.modules:  # `from . import slot` imports a module
                self._add(node, submodule, None)
            else:
                self._add(node, base, alias.name)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.module.split(".")
        climb = node.level - (self.path.name == "__init__.py")  # a package's own dot is itself
        package = package[: len(package) - climb]
        return ".".join([*package, *([node.module] if node.module else [])])

    def _add(self, node: ast.stmt, target: str, name: str | None) -> None:
        where = f"{self.path.relative_to(self.root.parent)}:{node.lineno}"
        self.found.append(Import(where, self.module, room_of(self.module), self.function, self.typing_only, target, name))


def read_imports(root: Path) -> Iterator[Import]:
    paths = sorted(root.rglob("*.py"))
    modules = frozenset(module_name(path, root) for path in paths)
    for path in paths:
        visitor = _Imports(path, root, modules)
        visitor.visit(ast.parse(path.read_text(), str(path)))
        yield from visitor.found


def find_unknown_rooms(root: Path) -> list[str]:
    rooms = {room_of(module_name(path, root)) for path in root.rglob("*.py")}
    return [f"{name}: no such room; add it to ROOMS in {Path(__file__).name}" for name in sorted(rooms - ROOMS.keys())]


def find_missing_rooms(root: Path) -> list[str]:
    rooms = {room_of(module_name(path, root)) for path in root.rglob("*.py")}
    return [f"{name}: no such room; take it out of ROOMS" for name in sorted(ROOMS.keys() - rooms)]


def find_circles(root: Path) -> list[str]:
    """Return the circles of modules inside a room: all that import each other, over however many steps."""
    modules = {module_name(path, root) for path in root.rglob("*.py")}
    below: dict[str, set[str]] = {module: set() for module in modules}
    for found in read_imports(root):
        if found.target in modules and room_of(found.target) == found.importer:
            below[found.module].add(found.target)
    reached = {module: _reached(module, below) for module in modules}
    circles = {frozenset(other for other in reached[module] if module in reached[other]) for module in modules}
    return sorted(_shown(circle) for circle in circles if circle)


def _reached(module: str, below: dict[str, set[str]]) -> set[str]:
    reached, ahead = set[str](), [module]
    while ahead:
        new = below[ahead.pop()] - reached
        reached |= new
        ahead += new
    return reached


def _shown(circle: frozenset[str]) -> str:
    [room] = {room_of(module) for module in circle}
    names = (module.removeprefix(f"{PACKAGE}.{room}").removeprefix(".") or "__init__" for module in circle)
    return f"{room}: {', '.join(sorted(names))}"


def find_violations(root: Path) -> list[str]:
    problems = find_unknown_rooms(root)
    for found in read_imports(root):
        if found.importer not in ROOMS:
            continue  # said above
        problem = judge(found)
        if problem is not None:
            problems.append(f"{found.where}: {problem}")
    return problems


def judge(found: Import) -> str | None:
    """Say what is wrong with one import, or None."""
    allowed = ROOMS[found.importer]
    top = found.target.split(".")[0]
    if top != PACKAGE:
        if top in allowed.never:
            return f"{found.importer} may not import {top}: what it decides must not depend on it"
        if top in sys.stdlib_module_names or top in allowed.libraries:
            return None
        return f"{found.importer} may not import the library {top}, only: {listed(allowed.libraries)}"

    imported = room_of(found.target)
    if imported == found.importer:
        return None
    if imported not in ROOMS:
        return f"{found.importer} imports {imported}, no such room"
    if imported not in allowed.rooms and not is_late(found, imported):
        return f"{found.importer} may not import {imported}, only: {listed(allowed.rooms)}"
    private = [part for part in (*found.target.split(".")[2:], found.name or "") if is_private(part)]
    if private and imported != "_version":
        return f"{found.importer} may not import {private[0]}: it belongs to {imported} alone"
    return None


def is_late(found: Import, imported: str) -> bool:
    for late in LATE:
        if (late.importer, late.imported) == (found.importer, imported):
            if found.typing_only:
                return late.typed
            return found.function is not None and late.function in (None, found.function)
    return False


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


# --- the package ----------------------------------------------------------------------------------


def test_every_import_points_to_a_lower_room() -> None:
    assert find_violations(SOURCES) == []


def test_the_modules_of_a_room_import_each_other_without_a_circle() -> None:
    assert find_circles(SOURCES) == []


def test_the_table_has_no_room_that_is_not_there() -> None:
    assert find_missing_rooms(SOURCES) == []


def test_the_table_itself_has_no_circle() -> None:
    assert list(TopologicalSorter({name: sorted(room.rooms) for name, room in ROOMS.items()}).static_order())


# --- the test itself ------------------------------------------------------------------------------


def write_package(root: Path, **sources: str) -> Path:
    """Write a package from `room__module="source"`; two underscores are a folder."""
    package = root / PACKAGE
    for name, source in {"__init__": "", **sources}.items():
        path = package.joinpath(*re.split(r"(?<=[a-z])__(?=[a-z_])", name))  # and not those around `__init__`
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(source)
    return package


@pytest.mark.parametrize(
    ("name", "source", "problem"),
    [
        (
            "worker__slot",
            "from nursery_tasks.brokers.memory import MemoryBroker",
            "worker may not import brokers.memory",
        ),
        ("worker__slot", "import nursery_tasks.brokers.memory", "worker may not import brokers.memory"),
        ("worker__slot", "from ..brokers import memory", "worker may not import brokers.memory"),
        ("worker__slot", "def f():\n    from ..brokers import memory", "worker may not import brokers.memory"),
        ("worker__slot", "if TYPE_CHECKING:\n    from ..client import JobHandle", "worker may not import client"),
        ("worker__slot", "from .. import App", "worker may not import __init__"),
        ("worker__slot", "from ..execution import _run", "worker may not import _run"),
        ("worker__slot", "import redis.asyncio", "worker may not import the library redis"),
        ("brokers__memory", "from .sqlite import connect", "brokers.memory may not import brokers.sqlite"),
        ("brokers__memory", "import asyncio", "brokers.memory may not import asyncio"),
        ("model__retry", "from random import random", "model may not import random"),
        ("model__retry", "import anyio", "model may not import the library anyio, only: msgspec"),
        ("registry", "from .cli import main", "registry may not import cli"),
        ("app", "from .worker import serve_worker", "app may not import worker"),
        ("app", "def run():\n    from .worker import serve_worker", "app may not import worker"),
        ("app", "if TYPE_CHECKING:\n    pass\nelse:\n    from .worker import Worker", "app may not import worker"),
        ("brokers__url", "if TYPE_CHECKING:\n    from .memory import MemoryBroker", "may not import brokers.memory"),
        ("brokers__url", "from .memory import MemoryBroker", "brokers.url may not import brokers.memory"),
        ("attic", "", "attic: no such room; add it to ROOMS"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, name: str, source: str, problem: str) -> None:
    beside = {"brokers__memory": "", "brokers__sqlite": "", "worker____init__": "", "execution____init__": ""}
    (found,) = find_violations(write_package(tmp_path, **{**beside, name: source}))
    assert problem in found


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "worker__slot",
            "import anyio, time\nfrom ..model import retry\nfrom . import _queue\nfrom .._version import __version__",
        ),
        ("brokers__sqlite____init__", "import apsw\nfrom ..protocol import Broker\nfrom .schema import TABLES"),
        ("brokers__url", "def open_broker():\n    from .memory import MemoryBroker"),
        ("app", "class App:\n    async def open_worker(self):\n        from .worker import serve_worker"),
        ("app", "if TYPE_CHECKING:\n    from .worker import Worker"),
        ("__main__", "from nursery_tasks.cli import main"),
    ],
)
def test_an_allowed_import_passes(tmp_path: Path, name: str, source: str) -> None:
    assert find_violations(write_package(tmp_path, **{name: source})) == []


@pytest.mark.parametrize(
    ("sources", "circles"),
    [
        ({"client__a": "from .b import B", "client__b": "from .a import A"}, ["client: a, b"]),
        (
            {"client__a": "from . import b", "client__b": "from .c import C", "client__c": "from .a import A"},
            ["client: a, b, c"],
        ),
        ({"client__a": "if TYPE_CHECKING:\n    from .b import B", "client__b": "from .a import A"}, ["client: a, b"]),
        ({"client__a": "def f():\n    from .b import B", "client__b": "from .a import A"}, ["client: a, b"]),
        ({"client____init__": "from .a import A", "client__a": "from . import A"}, ["client: __init__, a"]),
        ({"client__a": "from .sync.b import B", "client__sync__b": "from ..a import A"}, ["client: a, sync.b"]),
        ({"client__a": "from .b import B", "client__b": "from .c import C", "client__c": ""}, []),
        ({"client__a": "from ..task import T", "task": "from .client.a import A"}, []),  # the table refuses this one
    ],
)
def test_a_circle_inside_a_room_is_found(tmp_path: Path, sources: dict[str, str], circles: list[str]) -> None:
    assert find_circles(write_package(tmp_path, **sources)) == circles


def test_a_room_that_is_not_there_is_found(tmp_path: Path) -> None:
    missing = find_missing_rooms(write_package(tmp_path, client__a=""))
    assert "worker: no such room; take it out of ROOMS" in missing
    assert not [line for line in missing if line.startswith("client:")]
