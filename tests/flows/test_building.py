"""What is said when a flow is put together wrongly, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import msgspec
import pytest
from support import states, working

from nursery_tasks import App, Concurrency, PartialJob, Throttle, parallel, parallel_map, sequence
from nursery_tasks.errors import InvalidArguments, InvalidOptions, NotAJob, UnknownTask
from nursery_tasks.model.options import JobOptions
from nursery_tasks.workflows.data import FLOW, OptionsData


def tasks(app: App) -> tuple[Any, Any, Any]:
    @app.task
    async def double(n: int) -> int:
        return 2 * n

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task
    async def nothing() -> None:
        """Take nothing."""

    return double, add, nothing


WRONG: list[tuple[Callable[[Any, Any, Any], Any], type[Exception], str]] = [
    (
        lambda double, add, nothing: sequence(double, 3),
        NotAJob,
        r"sequence\(\.\.\.\) got 3, which cannot run; pass a task, task",
    ),
    (lambda double, add, nothing: sequence(None), NotAJob, "got None, which cannot run"),
    (lambda double, add, nothing: sequence([double]), NotAJob, r"got a list; pass its items: sequence\(\*steps\)"),
    (lambda double, add, nothing: parallel((double, double)), NotAJob, r"got a tuple; pass its items: parallel\(\*steps\)"),
    (lambda double, add, nothing: sequence(double(1)), NotAJob, r"got a coroutine: double\(\.\.\.\) calls the function itself"),
    (lambda double, add, nothing: parallel(double, then=3), NotAJob, r"parallel\(then=\.\.\.\) got 3"),
    (
        lambda double, add, nothing: parallel(double, policy="any"),
        InvalidOptions,
        "expected one of fail_fast, wait_all, first_s",
    ),
    (lambda double, add, nothing: parallel(policy="first_success"), InvalidOptions, "at least one branch"),
    (lambda double, add, nothing: parallel(double, limit=0), InvalidOptions, "limit=0: expected 1 or more, or None"),
    (lambda double, add, nothing: sequence(double, add), InvalidArguments, "add: missing a required argument: 'a'"),
    (
        lambda double, add, nothing: sequence(double, nothing),
        InvalidArguments,
        r"nothing: too many positional arguments \(as a step it gets one argument before its own",
    ),
    (lambda double, add, nothing: sequence(double, double.job(1)), InvalidArguments, "double: too many positional arguments"),
    (lambda double, add, nothing: sequence(double, add.job(1, 2)), InvalidArguments, "add: too many positional arguments"),
    (
        lambda double, add, nothing: sequence(double, double.job(n=1)),
        InvalidArguments,
        "double: multiple values for argument 'n'",
    ),
    (lambda double, add, nothing: sequence(double, lambda: 1), InvalidArguments, r"the function is <lambda>\(\)"),
    (lambda double, add, nothing: parallel(double, then=nothing), InvalidArguments, "nothing: too many positional arguments"),
    (lambda double, add, nothing: parallel_map(nothing), InvalidArguments, "nothing: too many positional arguments"),
    (lambda double, add, nothing: deep(200), InvalidOptions, "expected at most 100 groups inside each other"),
]


def deep(levels: int, step: Any = None) -> Any:
    flow = sequence() if step is None else sequence(step)
    for _ in range(levels - 1):
        flow = parallel(flow, then=max) if step is not None else sequence(flow)
    return flow


@pytest.mark.parametrize(("build", "error", "text"), WRONG, ids=range(len(WRONG)))
def test_what_is_put_together_wrongly_is_refused_at_once(
    memory_app: App, build: Callable[..., Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        build(*tasks(memory_app))


@pytest.mark.parametrize("way", ["run_local", "run", "enqueue"])
async def test_what_the_first_step_lacks_is_said_before_anything_is_sent(memory_app: App, way: str) -> None:
    double, _, nothing = tasks(memory_app)
    async with memory_app:
        for flow, given, text in [
            (sequence(double, double), (), r"double: missing a required argument: 'n' \(nothing was given to it\)"),
            (parallel(nothing), (1,), "nothing: too many positional"),
            (parallel_map(double), (), "parallel_map: nothing was given to it"),
            (sequence(double), (1, 2), "sequence: it takes one value or none, and got 2"),
        ]:
            with pytest.raises(InvalidArguments, match=text):
                await getattr(flow, way)(*given)
        assert states(memory_app) == {}
        with pytest.raises(TypeError, match=r"does not run by itself: `await flow.run\(x\)`"):
            await sequence(double)


async def test_what_workers_cannot_run_is_refused_before_anything_is_sent(memory_app: App) -> None:
    double, _, _ = tasks(memory_app)
    other, _, _ = tasks(App("memory:"))

    def shout(n: int) -> str:
        return str(n)

    @memory_app.task(limits=Concurrency(2), ordering_key="{n}")
    async def limited(n: int) -> int:
        return n

    async with memory_app:
        with pytest.raises(NotAJob, match=r"got the plain function shout; pass a task: write @app\.task above shout; of plain"):
            await sequence(double, shout).enqueue(1)
        with pytest.raises(NotAJob, match="got no job at all; pass at least one task"):
            await sequence(len).enqueue([])
        with pytest.raises(NotAJob, match=r"got jobs of several apps; pass jobs of one app, or use run\(\)"):
            await sequence(double, other).enqueue(1)
        with pytest.raises(InvalidOptions, match="expected those of double itself, or no flow that is enqueued"):
            await sequence(double.options(limits=Concurrency(1))).enqueue(1)
        with pytest.raises(InvalidOptions, match=r"limits=\(\): expected those of limited itself"):
            await sequence(limited.options(limits=[])).enqueue(1)
        with pytest.raises(InvalidOptions, match="ordering_key=None: expected that of limited itself"):
            await sequence(limited.options(ordering_key=None)).enqueue(1)
        with pytest.raises(InvalidOptions, match=r"throttle=Throttle\(2\): expected that of double itself"):
            await sequence(double.options(throttle=Throttle(2))).enqueue(1)
        assert states(memory_app) == {}
        assert await sequence(double, shout, len).run_local(50) == 3


async def test_plain_functions_of_all_kinds_run_where_the_flow_does(memory_app: App) -> None:
    double, _, _ = tasks(memory_app)

    async def wait(n: int) -> int:
        return n + 1

    class Adds:
        def __call__(self, n: int) -> int:
            return n + 10

    async with working(memory_app):
        for way in ("run_local", "run"):
            flow = sequence(double, wait, lambda n: n * 2, Adds(), lambda n: wait(n), parallel(str, wait, then=tuple))
            assert await getattr(flow, way)(1) == ("17", 18)
        with pytest.raises(ZeroDivisionError):
            await sequence(double, lambda n: n / 0).run(1)


async def test_a_hundred_levels_are_no_problem(memory_app: App) -> None:
    double, _, _ = tasks(memory_app)
    flow = deep(100, double)
    async with working(memory_app):
        assert await flow.run_local(1) == await flow.run(1) == await (await flow.enqueue(1)) == 2


async def test_data_chooses_only_what_is_on_the_list(memory_app: App) -> None:
    double, _, _ = tasks(memory_app)
    async with working(memory_app):
        for tree, error in [
            ({"kind": "sequence", "steps": [{"kind": "call", "name": "eval"}]}, InvalidOptions),
            ({"kind": "sequence", "steps": [{"kind": "job", "task": "double", "args": [1, 2, 3]}]}, InvalidArguments),
            ({"kind": "import", "name": "os"}, InvalidArguments),
        ]:
            with pytest.raises(error):
                await memory_app.job(FLOW, tree).run()
        of_the_task = {"limits", "ordering_key", "debounce", "throttle"}
        travels = {*OptionsData.__struct_fields__, *of_the_task}  # a new option has to travel in a flow, too
        assert {field.name for field in fields(JobOptions)} == travels
        assert FLOW not in [task.name for task in memory_app.tasks()]
        written = msgspec.json.encode(sequence(double.job(3), double.options(priority=3), sum).job().args[0])
        made_for = b'"fingerprint":"%s"' % memory_app.registry.tasks["double"].signature.fingerprint.encode()
        assert written == (
            b'{"kind":"sequence","steps":[{"kind":"job","task":"double","args":[3],%s},'
            b'{"kind":"job","task":"double","options":{"priority":3,"changed":["priority"]},%s},{"kind":"call","name":"sum"}]}'
        ) % (made_for, made_for)


async def test_jobs_by_name_run_on_workers_and_not_here(memory_app: App) -> None:
    tasks(memory_app)
    stranger = App("memory:")
    flow = sequence(stranger.job("double"), stranger.job("add", 1))
    with pytest.raises(UnknownTask):
        await flow.run_local(1)
    async with working(memory_app):
        broker = memory_app.connection.gateway.broker
        with stranger.use_broker(broker):
            async with stranger:
                assert await flow.run(1) == 3


async def test_a_job_that_lacks_its_first_argument(memory_app: App) -> None:
    double, add, _ = tasks(memory_app)
    partial = add.job(1)
    assert isinstance(partial, PartialJob)
    assert repr(partial) == "<PartialJob add(1)>"
    async with working(memory_app):
        assert await partial.run(2) == 3
        assert await (await partial.with_options(priority=1).enqueue(3)) == 4
        async with memory_app.create_task_group() as group:
            child = group.start_soon(partial, 5)
            with pytest.raises(InvalidArguments, match="missing a required argument: 'b'"):
                group.start_soon(partial)
        assert child.return_value == 6
        for wrong in (partial.run, partial.enqueue, lambda: memory_app.enqueue_many([partial]), double.run, double.enqueue):
            with pytest.raises(InvalidArguments, match="missing a required argument"):
                await wrong()
        with pytest.raises(TypeError, match="lacks one argument, and got 2"):
            partial.job(1, 2)
        with pytest.raises(InvalidArguments):
            await partial
