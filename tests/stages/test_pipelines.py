"""A chain of stages: it ends by itself, and holds up its source where its end is slow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from anyio import fail_after
from stage_tools import StagedApp

from nursery_tasks.errors import PublisherFailed


async def test_a_chain_over_two_channels_ends_by_itself_with_one_number(staged: StagedApp) -> None:
    app = staged.app
    totals: list[int] = []
    heard: list[int] = []

    @app.publisher("a:numbers")
    def numbers() -> Iterator[int]:
        yield from range(300)

    @app.handler("a:numbers", reply=["b:doubled", "copies"])
    async def double(number: int) -> int:
        return 2 * number

    @app.listener("copies")
    async def hear(number: int) -> None:
        heard.append(number)

    @app.collector("b:doubled", on_flush=totals.append)
    def add(total: int, number: int) -> int:
        return total + number

    with fail_after(30):
        async with app:
            await app.run_pipeline(slots=10)
    assert totals == [2 * sum(range(300))]
    assert sorted(heard) == [2 * n for n in range(300)]
    assert not staged.b.waiting("doubled")


async def test_a_publisher_that_fails_for_good_is_told_at_the_end(staged: StagedApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = staged.app
    monkeypatch.setattr("nursery_tasks.stages.publisher.AGAIN_SECONDS", (0.01, 0.01))

    @app.publisher("numbers")
    async def numbers() -> AsyncIterator[int]:
        yield 1
        raise OSError("the disk is gone")

    heard: list[int] = []

    @app.listener("numbers")
    async def hear(number: int) -> None:
        heard.append(number)

    with fail_after(20):
        async with app:
            with pytest.raises(PublisherFailed, match="the disk is gone"):
                await app.run_pipeline()
    assert heard == [1]
