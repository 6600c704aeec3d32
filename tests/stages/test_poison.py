"""What one bad message or total does to those around it: nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from stage_tools import StagedApp, bodies, message, until_worked_off
from support import until, working

from nursery_tasks.channels import ChannelMessage
from nursery_tasks.model.states import JobState


def _of_no_type(total: dict[str, int]) -> object:
    return None


def _not_encodable(total: dict[str, int]) -> object:
    return object()


def _too_large(total: dict[str, int]) -> object:
    return {"x" * 16_000_000: 1}


def _changed_before_it_raises(total: dict[str, int]) -> object:
    total["3"] = 1
    raise ValueError


@pytest.mark.parametrize("bad", [_of_no_type, _not_encodable, _too_large, _changed_before_it_raises])
@pytest.mark.parametrize("staged", ["memory"], indirect=True)
async def test_an_item_that_spoils_the_total_is_left_out(staged: StagedApp, bad: Callable[[dict[str, int]], object]) -> None:
    app = staged.app

    @app.collector("a:numbers", initial={})
    def count(total: dict[str, int], number: int) -> dict[str, int]:
        if number == 3:
            return bad(total)  # type: ignore[return-value]
        total[str(number)] = 1
        return total

    staged.a.put("numbers", *(message(number, id=str(number)) for number in range(1, 6)))
    async with working(app, slots=1):
        await until(lambda: not staged.a.waiting("numbers"))
        await until_worked_off(app, "a.numbers")
        [queue] = [each for each in await app.queues.list() if each.name == "a.numbers"]
        assert queue.counts == {JobState.SUCCEEDED: 4, JobState.FAILED: 1}
        assert await count.total() == {"1": 1, "2": 1, "4": 1, "5": 1}


@pytest.mark.parametrize("staged", ["memory"], indirect=True)
async def test_messages_with_an_empty_id_are_not_all_the_same(staged: StagedApp) -> None:
    app = staged.app

    @app.handler("a:in", reply="b:out")
    async def copy(body: bytes) -> bytes:
        return body

    staged.a.put("in", message(b"1", id=""), message(b"2", id=""))
    async with working(app, slots=1):
        assert await bodies(staged.b, "out", 2) == [b"1", b"2"]


@pytest.mark.parametrize(
    "said", [{"id": "\ud800"}, {"reply_to": "\ud800"}, {"headers": {"who": "\ud800"}}], ids=lambda said: next(iter(said))
)
async def test_a_message_that_says_what_cannot_be_stored_is_a_dead_letter(staged: StagedApp, said: dict[str, Any]) -> None:
    app = staged.app

    @app.handler("a:in", reply="b:out")
    async def copy(body: bytes) -> bytes:
        return body

    staged.a.put("in", message(b"1"), message(b"bad", **said), message(b"2"))
    async with working(app, slots=1):
        assert await bodies(staged.b, "out", 2) == [b"1", b"2"]
        await until(lambda: not staged.a.waiting("in"))
        [dead] = await app.jobs.list(states=["dead"])
        assert dead.queue == "a.in"
        assert "cannot be stored" in (dead.reason or "")
        await app.jobs.retry([dead.id])
        assert await bodies(staged.b, "out", 3) == [b"1", b"2", b"bad"]


@pytest.mark.parametrize("staged", ["memory"], indirect=True)
async def test_what_a_channel_of_others_brings_is_a_dead_letter_and_the_next_one_runs(staged: StagedApp) -> None:
    app = staged.app

    @app.handler("a:in", reply="b:out")
    async def copy(body: bytes) -> bytes:
        return body

    odd: list[Any] = [None, "text", 7, bytearray(b"array")]
    staged.a.put("in", *(ChannelMessage(body=body, id=f"{number}") for number, body in enumerate(odd)))
    staged.a.put("in", ChannelMessage(body=b"x", id="headers", headers={"count": 7}))  # type: ignore[dict-item]
    staged.a.put("in", message(b"good", id="good"))
    async with working(app):
        assert await bodies(staged.b, "out", 1) == [b"good"]
        await until(lambda: not staged.a.unsettled("in"))
        dead = [job for job in await app.jobs.list() if job.state is JobState.DEAD]
        assert len(dead) == 5
        reasons = [(await app.jobs.get(job.id)).reason or "" for job in dead]
        assert all(reason.startswith("undecodable") for reason in reasons)
        assert any("'count' is int, no text" in reason for reason in reasons)
