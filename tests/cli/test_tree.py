"""`nursery-tasks tree`: a job with all that it has started; drawn in this program, and by the real command."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import anyio
import pytest
from cli_shell import Shell
from redis_server import fresh_url
from support import memory_app, working

from nursery_tasks import App, JobState, sleep, step, wait_for_event
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.cli.tree import draw
from nursery_tasks.client.tree import Node, read_tree
from nursery_tasks.testing.contract.steps import claim_one, job, settle, submit, succeeded

__all__ = ["memory_app"]


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A broker that other programs can look into."""
    with fresh_url() if request.param == "redis" else nullcontext(f"sqlite:///{tmp_path}/jobs.db") as url:
        yield url


async def look() -> int:
    return 1


async def standing(app: App, job_id: str) -> Node:
    """Return the tree once it stands."""
    while True:
        top, left = await read_tree(app.jobs, job_id)
        assert not left
        if sum("● leaf" in line for line in draw(top, time.time())) == 2 and len(top.children) == 8:
            return top
        await anyio.sleep(0.01)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_tree_shows_what_waits_for_what(url: str) -> None:
    app = App(url)

    @app.task
    async def leaf(n: int) -> int:
        if n == 9:
            raise ValueError("nine")
        await anyio.sleep(0 if n else 600)
        return n

    @app.workflow
    async def branch() -> int:
        return await leaf.run(0)

    @app.workflow(durable=True)
    async def top() -> None:
        await step(look)
        await leaf.run(1)
        with pytest.raises(ValueError, match="nine"):
            await leaf.run(9)
        await leaf.options(delay=3600).enqueue(2)
        async with app.create_task_group() as group:
            group.start_soon(branch)
            group.start_soon(leaf, 0)
            await sleep(7200)

    async with working(app):
        handle = await top.enqueue()
        tree = await standing(app, handle.id)
        drawn = draw(tree, time.time())
        shapes = [re.sub(r" [0-9a-f]{8}  .*", "", line) for line in drawn]
        assert shapes[:5] == ["● top", "├── ✔ step:look", "├── ✔ leaf", "├── ✘ leaf", "├── ✔ enqueue:leaf"]
        assert "├── ● branch" in shapes or "└── ● branch" in shapes
        assert "│   └── ● leaf" in shapes or "    └── ● leaf" in shapes
        text = "\n".join(drawn)
        assert re.search(r"started, for .*, on \S+, waits for 2 of 4, sleeps until \d\d:\d\d:\d\d$", drawn[0])
        assert re.search(r"✘ leaf \w+  failed, .*ValueError", text)
        assert re.search(r"◷ leaf \w+  scheduled, due in \d+.*, detached", text)
        assert re.search(r"✔ sleep:7200s .*until \d\d:\d\d:\d\d", text)
        assert len(draw(tree, time.time(), running=True)) == 5

        [lower] = [below.record for child in tree.children if child.record.task == "branch" for below in child.children]
        assert await app.handle(lower.id).cancel("a node") == "cancelled"
        assert (await handle.outcome()).state is JobState.FAILED  # the group that awaited it
        ended, _ = await read_tree(app.jobs, handle.id)
        assert "✘ top" in draw(ended, time.time())[0]
        assert [child.record.state for child in ended.children if not child.record.state.ended] == [JobState.SCHEDULED]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_tree_shows_which_event_a_workflow_waits_for(memory_app: App) -> None:
    app = memory_app

    @app.workflow(durable=True)
    async def top() -> None:
        for place in range(2):
            await wait_for_event("approve", timeout=3600 if place else None)

    async def first_line(said: str) -> None:
        while not re.search(said, draw((await read_tree(app.jobs, handle.id))[0], time.time())[0]):  # noqa: ASYNC110 - as people do
            await anyio.sleep(0.01)

    async with working(app):
        handle = await top.enqueue()
        await first_line("waits for the event 'approve'$")
        await app.send_event(handle.id, "approve")
        await first_line(r"waits for the event 'approve' until \d\d:\d\d:\d\d$")
        await app.send_event(handle.id, "approve")
        await handle


def test_the_command_draws_and_follows(shell: Shell) -> None:
    broker = SqliteBroker(shell.directory / "jobs.db")
    submit(broker, job("top-job", task="top"), job("one-child", task="leaf", parent="top-job"))
    delivery = claim_one(broker, "top-job", limit=1)
    settle(broker, succeeded(claim_one(broker, "one-child")))
    following = shell.start("tree", "top-job", "--follow")
    assert "top top-job" in following.wait_for("◌")
    settle(broker, succeeded(delivery))
    ended = following.end()
    assert ended.code == 0
    assert "✔ top top-job  succeeded" in ended.out
    assert "└── ✔ leaf ne-child  succeeded" in ended.out
    tree = json.loads(shell("tree", "top-job", "--json").out)
    assert [child["id"] for child in tree["children"]] == ["one-child"]
    broker.close()
    unknown = shell("tree", "0123456789abcdef0123456789abcdef")
    assert unknown.code == 1
    assert "no job has the id" in unknown.error_lines[0]
