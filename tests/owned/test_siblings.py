"""A group whose children run on three workers, and one of them fails."""

from __future__ import annotations

import time

import pytest
from anyio import fail_after, sleep

from . import program
from .fleet import DEADLINE, Fleet, on_loops, unfinished, until


@on_loops("trio")
async def test_a_failure_ends_its_siblings_on_other_workers_within_a_second(fleet: Fleet, loop: str) -> None:
    fleet.work(loop, loop, loop, slots=1)
    with fail_after(DEADLINE):
        async with fleet.app() as app:
            with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - one block is one group
                async with app.create_task_group() as group:
                    group.start_soon(app.job("tick", "first", 60))
                    group.start_soon(app.job("tick", "second", 60))
                    await until(lambda: len({line.path for line in fleet.lines("tick")}) == 2, "both siblings")
                    group.start_soon(app.job("fail_after", "oops", 0.2))
            left = time.monotonic()
            [error] = raised.value.exceptions
            assert isinstance(error, program.Oops)
            assert str(error) == "oops"
            assert unfinished(app) == []
            await sleep(0.5)  # fifty ticks of each
            lines = fleet.lines()
            assert {line.path for line in lines if line.word == "tick"} == {"first", "second"}
            assert len({line.pid for line in lines}) == 3
            assert max(line.at for line in lines) < left
            [failed] = fleet.lines("raise")
            assert left - failed.at < 1.0
