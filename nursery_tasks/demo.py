"""The tasks of `nursery-tasks demo`, and an example to start from: `nursery-tasks run nursery_tasks.demo:app`."""

from __future__ import annotations

import tokenize
from dataclasses import dataclass

import anyio

from . import App, Retry, check_cancelled, current_job

app = App()  # the broker is that of $NURSERY_TASKS_BROKER, else a file in this directory

_NO_CODE = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING})
_LOOK_UP_EVERY = 2_000  # tokens, some milliseconds


@dataclass
class Size:
    """What `measure` finds."""

    path: str
    bytes: int
    lines: int


@dataclass
class Code:
    """What `count_code` finds."""

    path: str
    code_lines: int
    functions: int
    classes: int


@dataclass
class Module:
    """A row of the table."""

    path: str
    bytes: int
    lines: int
    code_lines: int
    functions: int
    classes: int


@app.task(timeout=10)
async def measure(path: str) -> Size:
    """Read a file and count its bytes and lines; on the event loop, because it waits more than it computes."""
    data = await anyio.Path(path).read_bytes()
    return Size(path, len(data), data.count(b"\n"))


@app.task(timeout=60)
def count_code(path: str) -> Code:
    """Take a source file apart and count what it defines; in a thread, because it computes."""
    lines: set[int] = set()
    functions = classes = 0
    with open(path, "rb") as file:
        for number, token in enumerate(tokenize.tokenize(file.readline)):
            if number % _LOOK_UP_EVERY == 0:
                check_cancelled()  # a thread cannot be stopped from outside; this is where it leaves
            if token.type not in _NO_CODE:
                lines.update(range(token.start[0], token.end[0] + 1))
            if token.type == tokenize.NAME:
                functions += token.string == "def"
                classes += token.string == "class"
    lines.discard(0)
    return Code(path, len(lines), functions, classes)


@app.task(timeout=30)
def largest(sizes: list[Size], codes: list[Code], count: int) -> list[Module]:
    """Bring together what the other jobs found: the modules with the most lines."""
    known = {code.path: code for code in codes}
    chosen = sorted((size for size in sizes if size.path in known), key=lambda size: (-size.lines, size.path))[:count]
    return [_merge(size, known[size.path]) for size in chosen]


@app.task(retry=Retry(4, on=(ConnectionError,), wait=[0.3, 0.6]))
async def flaky() -> str:
    """Fail twice, as a server does that is just being restarted."""
    attempt = current_job().attempt
    if attempt < 3:
        raise ConnectionError(f"attempt {attempt} met a server that is being restarted")
    return f"worked at attempt {attempt}"


@app.task(timeout=1.0)
async def too_slow() -> None:
    """Want more time than there is."""
    await anyio.sleep(60)


@app.task
async def endless() -> None:
    """Go on until somebody cancels it, and say how far it is."""
    for round_number in range(1_000_000):
        current_job().progress({"round": round_number})
        await anyio.sleep(0.1)


@app.task
async def family(levels: int) -> None:
    """Start three of its kind, which start three each; the last ones go on until the scope around it all is left."""
    if levels == 0:
        await anyio.sleep(60)
    async with app.create_task_group() as group:
        for _ in range(3):
            group.start_soon(family, levels - 1)


def _merge(size: Size, code: Code) -> Module:
    return Module(size.path, size.bytes, size.lines, code.code_lines, code.functions, code.classes)
