"""What a handler in a process writes comes out of the worker's logging, in order and with its job; and it blocks nobody."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import process_tasks
import pytest
from host_tools import ASYNCIO, TRIO, UVLOOP, register
from support import working

from nursery_tasks import App
from nursery_tasks.errors import PayloadTooLarge
from nursery_tasks.execution.in_process.allowance import BURST_BYTES, LINE_BYTES, Allowance, shortened


class Kept(logging.Handler):
    """Keeps the records of handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("nursery_tasks.job", "shop")):
            self.records.append(record)

    def texts(self, name: str | None = None) -> list[str]:
        return [record.getMessage() for record in self.records if name in (None, record.name)]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """All records from INFO on."""
    root, handler = logging.getLogger(), Kept()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(before)
    root.removeHandler(handler)


async def test_everything_that_is_written_comes_out_with_its_job(memory_app: App, kept: Kept) -> None:
    write = register(memory_app, process_tasks.write_everywhere)
    async with working(memory_app, processes=1):
        handle = await write.enqueue()
        await handle
        records = list(kept.records)  # all of them are there when the job has ended
    said = {(record.name, record.levelname, record.getMessage()) for record in records}
    own = "nursery_tasks.job.write_everywhere"
    assert said == {
        (own, "INFO", "python out"),
        (own, "WARNING", "python err"),
        (own, "INFO", "fd 1"),
        (own, "WARNING", "fd 2"),
        (own, "INFO", "child out"),
        (own, "WARNING", "child err"),
        (own, "INFO", "job log"),
        ("shop", "ERROR", "trouble"),
        (own, "INFO", "no end"),
    }
    facts: list[Any] = [(vars(record)["job_id"], vars(record)["task"], vars(record)["attempt"]) for record in records]
    assert set(facts) == {(handle.id, "write_everywhere", 1)}
    (trouble,) = [record for record in records if record.getMessage() == "trouble"]
    assert vars(trouble)["order"] == 7
    assert "ValueError: logged" in logging.Formatter().format(trouble)
    assert trouble.filename == "process_tasks.py"


@UVLOOP
async def test_prints_and_records_keep_their_order(memory_app: App, kept: Kept) -> None:
    in_turn = register(memory_app, process_tasks.in_turn)
    async with working(memory_app, processes=1):
        await in_turn.run()
    assert kept.texts() == [f"{kind} {number}" for number in range(50) for kind in ("print", "log")]


async def test_a_mebibyte_of_prints_and_logs_goes_through(memory_app: App, kept: Kept) -> None:
    say = register(memory_app, process_tasks.say)
    async with working(memory_app, processes=1):
        await say.run(512, 1024)
    assert [text.split()[0] for text in kept.texts("nursery_tasks.job.say")] == [str(number) for number in range(512)]
    assert [text.split()[0] for text in kept.texts("shop.cart")] == [str(number) for number in range(512)]
    assert sum(map(len, kept.texts())) >= 1024 * 1024


@TRIO
async def test_a_level_that_the_worker_does_not_want_is_not_sent(memory_app: App, kept: Kept) -> None:
    logging.getLogger("shop").setLevel(logging.WARNING)
    try:
        say = register(memory_app, process_tasks.say)
        async with working(memory_app, processes=1):
            await say.run(2)
        assert kept.texts("shop.cart") == []
    finally:
        logging.getLogger("shop").setLevel(logging.NOTSET)


@UVLOOP
async def test_a_flood_is_cut_and_told_and_the_job_goes_on(memory_app: App, kept: Kept) -> None:
    flood = register(memory_app, process_tasks.flood)
    async with working(memory_app, processes=1):
        written = await flood.run(12_000)  # three bursts, however long that takes
    through = [text for text in kept.texts() if text.startswith("xxx")]
    assert len(through) < written
    assert len(through) * 1000 <= BURST_BYTES + 8 * 1024 * 1024
    assert any("lines or records" in text and "left out" in text for text in kept.texts())


async def test_a_flood_of_raw_bytes_blocks_nobody(memory_app: App, kept: Kept) -> None:
    write_raw, double = register(memory_app, process_tasks.write_raw, process_tasks.double)
    data = b"x" * 999 + b"\n"
    async with working(memory_app, processes=2):
        assert await write_raw.run(data * 600) == 600_000
        memory_app.max_payload_bytes = 16 * 1024 * 1024
        assert await double.run(4) == 8
    assert len([text for text in kept.texts() if text.startswith("xxx")]) == 600


class Exploit:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("/tmp/nursery-tasks-was-here"),)


async def test_bytes_on_fd_1_are_text_whatever_they_look_like(memory_app: App, kept: Kept) -> None:
    write_raw = register(memory_app, process_tasks.write_raw)
    mark = Path("/tmp/nursery-tasks-was-here")
    payload = pickle.dumps(Exploit(), protocol=0)
    data = b"RETURN %d\n" % len(payload) + payload
    async with working(memory_app, processes=1):
        for _ in range(2):
            assert await write_raw.run(data) == len(data)
    assert not mark.exists()
    assert kept.texts()[0] == f"RETURN {len(payload)}"


@TRIO
async def test_a_forked_child_writes_like_any_process(memory_app: App, kept: Kept) -> None:
    fork, double = register(memory_app, process_tasks.fork_and_write, process_tasks.double)
    async with working(memory_app, processes=1):
        assert await fork.run() == 0
        assert await double.run(4) == 8
    assert set(kept.texts()) == {"from a forked child", "WARNING shop: logged there"}


async def test_progress_is_seen_while_the_handler_computes(app: App, tmp_path: Path) -> None:
    advance, much = register(app, process_tasks.advance, process_tasks.too_much_progress)
    async with working(app, processes=1):
        handle = await advance.enqueue(str(tmp_path / "gate"))
        seen: list[Any] = []

        async def look() -> None:
            seen.append(await handle.progress())

        while {"step": 1} not in seen:
            await look()
        (tmp_path / "gate").touch()
        assert await handle == "done"
        with pytest.raises(PayloadTooLarge, match="the progress of too_much_progress"):
            await much.run()


# --- the rules ---------------------------------------------------------------------------------------------------------------


@ASYNCIO
async def test_an_allowance_fills_up_with_time_and_counts_what_it_refuses() -> None:
    now = 0.0
    allowance = Allowance(lambda: now)
    assert allowance.admit(BURST_BYTES - 64)
    assert not allowance.admit(100)
    assert not allowance.admit(50)
    now = 1.0
    assert allowance.admit(1024 * 1024 - 64)
    assert not allowance.admit(1)
    assert allowance.take_cut() == (3, 151)
    assert allowance.take_cut() is None


@ASYNCIO
async def test_a_long_line_is_cut_and_says_so() -> None:
    assert shortened("x" * LINE_BYTES) == "x" * LINE_BYTES
    assert shortened("x" * (LINE_BYTES + 5)) == "x" * LINE_BYTES + "… (5 characters more)"
