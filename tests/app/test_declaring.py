"""Declaring tasks: the decorator, names, options, and the mistakes that are found at once."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from anyio import run
from support import working

from nursery_tasks import App, Retry, Task, current_job, program
from nursery_tasks.errors import (
    AppAlreadyOpen,
    AppNotOpen,
    DuplicateTask,
    InvalidArguments,
    InvalidBrokerUrl,
    InvalidOptions,
    NotInJob,
    NotSerializable,
    PayloadTooLarge,
    UnknownTask,
)

WEST = timezone(timedelta(hours=-1))


async def nothing() -> None:
    """Do nothing."""


# --- the decorator -----------------------------------------------------------------------------------------------------------


def test_a_task_is_declared_with_or_without_parentheses(memory_app: App) -> None:
    @memory_app.task
    def bare(a: int, b: int) -> int:
        return a + b

    @memory_app.task()
    def empty(a: int, b: int) -> int:
        return a + b

    @memory_app.task(timeout=3)
    def full(a: int, b: int) -> int:
        return a + b

    assert (bare(2, 3), empty(2, 3), full(2, 3)) == (5, 5, 5)


async def test_calling_a_task_calls_the_function(memory_app: App) -> None:
    @memory_app.task
    async def add(a: int, b: int) -> int:
        return a + b

    assert await add(2, 3) == 5
    with pytest.raises(TypeError):
        add(2)  # type: ignore[call-arg, unused-coroutine]


def test_a_task_keeps_what_the_function_shows(memory_app: App) -> None:
    def add(a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    task = memory_app.task(add)
    assert inspect.signature(task) == inspect.signature(add)
    assert (task.__doc__, vars(task)["__name__"], task.__module__) == (add.__doc__, "add", __name__)
    assert task.__wrapped__ is add  # type: ignore[attr-defined]
    assert repr(task) == "<Task add>"


def test_attributes_of_the_function_hide_nothing_of_the_task(memory_app: App) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    vars(add).update(job="cron", options=None, spec=1)
    task = memory_app.task(add)
    assert task.options(key="k").job(1, 2).args == (1, 2)


def test_an_annotation_means_what_it_means_in_the_functions_module(memory_app: App, tmp_path: Path) -> None:
    (tmp_path / "dates.py").write_text(
        "from __future__ import annotations\nfrom datetime import date as Date\ndef f(d: Date) -> Date: return d\n"
    )
    Date = str  # noqa: N806, F841 - another thing of the same name, here where the task is registered
    task = memory_app.task(load(tmp_path / "dates.py", "dates", memory_app).f)
    assert task.spec.signature.returns is date


def test_one_function_may_be_two_tasks_under_two_names(memory_app: App) -> None:
    quick = memory_app.task(name="quick", queue="a")(nothing)
    slow = memory_app.task(name="slow", queue="b")(nothing)
    assert (quick.name, slow.name) == ("quick", "slow")
    assert [task.name for task in memory_app.tasks()] == ["quick", "slow"]
    assert [task.spec.options.queue for task in memory_app.tasks()] == ["a", "b"]


def test_the_listing_knows_kind_doc_and_options(memory_app: App) -> None:
    memory_app.task(nothing)
    [task] = memory_app.tasks()
    assert isinstance(task, Task)
    assert (task.spec.name, task.spec.kind, task.spec.doc) == ("nothing", "loop", "Do nothing.")
    assert str(task.spec.signature) == "() -> None"
    assert memory_app.get_task("nothing").spec is task.spec


def test_a_task_that_does_not_exist_is_told_with_what_may_have_been_meant(memory_app: App) -> None:
    memory_app.task(nothing)
    with pytest.raises(UnknownTask, match="did you mean 'nothing'"):
        memory_app.get_task("nothin")


class Callable:
    async def __call__(self, x: int) -> int:
        return 2 * x


async def test_anything_that_can_be_called_can_be_a_task(memory_app: App) -> None:
    by_object = memory_app.task(name="by_object")(Callable())
    by_partial = memory_app.task(name="by_partial")(functools.partial(pow, 2))
    assert (by_object.spec.kind, by_partial.spec.kind) == ("loop", "thread")
    async with working(memory_app):
        assert await by_object.run(4) == 8
        assert await by_partial.run(10) == 1024


# --- names -------------------------------------------------------------------------------------------------------------------


def test_a_lambda_needs_a_name(memory_app: App) -> None:
    with pytest.raises(InvalidOptions, match=r"name=\.\.\."):
        memory_app.task(lambda: None)
    assert memory_app.task(name="quiet")(lambda: None).name == "quiet"


@pytest.mark.parametrize("name", ["two words", "tab\t", "nul\0", "x" * 201, "\udcff"])
def test_a_name_is_one_visible_word(memory_app: App, name: str) -> None:
    with pytest.raises(InvalidOptions, match="expected 1 to 200 characters without spaces"):
        memory_app.task(name=name)(nothing)


def test_two_functions_cannot_have_one_name(memory_app: App) -> None:
    memory_app.task(nothing)
    with pytest.raises(DuplicateTask, match=r"'nothing' is registered twice, as .*\.nothing and as .*\.other"):

        @memory_app.task(name="nothing")
        async def other() -> None: ...


def load(path: Path, name: str, app: App) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.app = app  # type: ignore[attr-defined]
    spec.loader.exec_module(module)
    return module


def test_two_modules_cannot_have_a_task_of_one_name(memory_app: App, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text("@app.task\ndef process(): ...\n")
    load(tmp_path / "first.py", "first", memory_app)
    with pytest.raises(DuplicateTask, match=r"as first.process and as second.process; give one of them name="):
        load(tmp_path / "second.py", "second", memory_app)


def test_a_module_may_be_loaded_as_main_and_by_its_name(memory_app: App, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("@app.task\ndef process(): ...\n")
    load(tmp_path / "tasks.py", "__main__x", memory_app)
    newer = load(tmp_path / "tasks.py", "tasks", memory_app)
    assert memory_app.get_task("process").spec.function is newer.process.__wrapped__


# --- where it runs -----------------------------------------------------------------------------------------------------------


def test_where_a_task_runs_can_be_written_down(memory_app: App) -> None:
    assert memory_app.task(name="a", run_in="loop")(nothing).spec.kind == "loop"
    assert memory_app.task(name="b", run_in="thread")(lambda: None).spec.kind == "thread"


@pytest.mark.parametrize(
    ("run_in", "function", "expected"),
    [
        ("thread", nothing, "'loop' (or nothing) for an async def"),
        ("loop", print, "'thread' (or nothing), 'process' or 'interpreter' for a def"),
        ("moon", nothing, "one of loop, thread, process, interpreter"),
    ],
)
def test_a_function_runs_where_its_kind_can_run(memory_app: App, run_in: str, function: Any, expected: str) -> None:
    with pytest.raises(InvalidOptions) as caught:
        memory_app.task(run_in=run_in)(function)
    assert caught.value.expected == expected


def as_a_def(function: Any) -> Any:
    """A decorator as there are many, written for a `def`."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def test_a_decorator_that_makes_a_def_of_an_async_def_is_found(memory_app: App) -> None:
    with pytest.raises(InvalidOptions, match="make the wrapper async def"):
        memory_app.task(as_a_def(nothing))
    assert memory_app.task(run_in="thread")(as_a_def(nothing)).spec.kind == "thread"


async def test_a_def_that_returns_a_coroutine_fails_its_job(memory_app: App) -> None:
    @memory_app.task
    def later() -> Any:
        return nothing()

    async with working(memory_app):
        with pytest.raises(TypeError, match=r"returned a coroutine that nobody awaits; make the wrapper async def"):
            await later.run()
    with pytest.raises(TypeError, match="returned a coroutine"):
        await later.run_local()


def test_a_generator_is_no_task(memory_app: App) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(InvalidOptions, match="this one yields"):
            memory_app.task(function)


# --- options -----------------------------------------------------------------------------------------------------------------


def test_options_make_a_copy_and_leave_the_task_alone(memory_app: App) -> None:
    task = memory_app.task(priority=1)(nothing)
    job = task.options(priority=9, key="k").job()
    assert (job.options.priority, job.options.key) == (9, "k")
    assert (task.job().options.priority, task.job().options.key) == (1, None)
    assert job.with_options(priority=2).options.key == "k"


def test_all_options_of_a_job_but_two_are_words_that_a_task_knows_too(memory_app: App) -> None:
    task = memory_app.task(
        queue="q",
        local=True,
        priority=3,
        timeout=timedelta(seconds=2),
        retry=Retry(2),
        delay=1,
        expires=60,
        result_ttl=timedelta(days=1),
        key="k",
        tags=["a", "b"],
        max_crashes=1,
    )(nothing)
    options = task.options(at=datetime(2030, 1, 1, tzinfo=UTC), id="x").job().options
    assert (options.queue, options.local, options.priority, options.timeout_seconds) == ("q", True, 3, 2.0)
    assert (options.start_at, options.tags, options.result_ttl_seconds) == (1_893_456_000.0, ("a", "b"), 86_400.0)
    assert options.retry is not None
    assert options.retry.attempts == 2


@pytest.mark.parametrize(
    ("word", "value", "expected"),
    [
        ("queue", "no spaces", "1 to 64 letters, digits, dots, dashes or underscores"),
        ("queue", "", "1 to 64 letters, digits, dots, dashes or underscores"),
        ("queue", "{a}", "1 to 64 letters, digits, dots, dashes or underscores"),
        ("local", 1, "True or False"),
        ("priority", 10, "a whole number from 0 to 9; higher goes first"),
        ("priority", -1, "a whole number from 0 to 9; higher goes first"),
        ("priority", True, "a whole number from 0 to 9; higher goes first"),
        ("timeout", 0, "0.001 seconds or more"),
        ("timeout", "10", "seconds as a number, or a timedelta"),
        ("retry", "3", "Retry(...), a number of attempts, or None"),
        ("retry", 0, "1 or more, or None for no limit"),
        ("delay", -1, "0 seconds or more"),
        ("delay", float("nan"), "seconds as a number, or a timedelta"),
        ("at", datetime(2030, 1, 1), "a datetime with a time zone, such as datetime.now(UTC) + timedelta(hours=1)"),
        ("at", 5, "a datetime with a time zone, such as datetime.now(UTC) + timedelta(hours=1)"),
        ("expires", -1, "0 seconds or more"),
        ("result_ttl", None, "seconds as a number, or a timedelta"),
        ("key", "", "1 to 200 characters without spaces"),
        ("key", "\udcff", "1 to 200 characters without spaces"),
        ("id", "a b", "1 to 200 characters without spaces"),
        ("tags", "word", "a list of words"),
        ("tags", ["a b"], "1 to 200 characters without spaces"),
        ("max_crashes", 0, "1 or more"),
        ("max_crashes", 1.5, "1 or more"),
        ("max_crashes", 10**30, "at most 1,000,000"),
        (
            "at",
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
            "a moment that is in the years 1 to 9999 in UTC, too",
        ),
    ],
)
def test_an_option_out_of_its_range_says_what_was_expected(memory_app: App, word: str, value: object, expected: str) -> None:
    task = memory_app.task(nothing)
    given: Any = {word: value}
    calls: list[Any] = [task.options, task.job().with_options]
    if word not in ("at", "id"):
        calls.append(lambda **words: memory_app.task(name="other", **words)(nothing))
    for call in calls:
        with pytest.raises(InvalidOptions) as caught:
            call(**given)
        assert caught.value.expected == expected
        assert isinstance(caught.value, ValueError)


def test_an_option_that_does_not_exist_is_answered_with_those_that_do(memory_app: App) -> None:
    given: Any = {"timout": 3}
    with pytest.raises(
        InvalidOptions,
        match=r"^timout=3: expected timeout=\.\.\.; the options are batch, catch_up, debounce, delay, .*kill_after, .*timeout",
    ):
        memory_app.task(**given)
    with pytest.raises(
        InvalidOptions, match=r"^timout=3: expected timeout=\.\.\.; the options are at, debounce, delay, .*key, limits"
    ):
        memory_app.task(nothing).options(**given)
    given = {"colour": "red"}
    with pytest.raises(
        InvalidOptions, match=r"^colour='red': expected one of the options batch, catch_up, debounce, delay, delivery, expires"
    ):
        memory_app.task(**given)


@pytest.mark.parametrize("size", [0, -1, 17 * 1024 * 1024])
def test_payloads_have_a_hard_limit(size: int) -> None:
    with pytest.raises(InvalidOptions, match="max_payload_bytes"):
        App("memory:", max_payload_bytes=size)


def test_only_exception_classes_can_be_registered_as_errors() -> None:
    with pytest.raises(InvalidOptions, match="expected an exception class"):
        App("memory:", errors=[int])  # type: ignore[list-item]


# --- the app -----------------------------------------------------------------------------------------------------------------


def test_an_app_shows_no_password() -> None:
    assert repr(App("redis://me:secret@host/0")) == "<App redis://me:***@host/0 with 0 tasks>"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "x",
        "memory:x",
        "sqlite:x.db",
        "sqlite:///",
        "redis://u:secret@h/0?colour=red",
        "amqp://u:secret@h/?colour=red",
    ],
)
async def test_a_url_that_makes_no_sense_is_found_when_the_app_is_opened(url: str) -> None:
    with pytest.raises(InvalidBrokerUrl) as caught:
        async with App(url):
            pass
    assert "secret" not in str(caught.value)


def test_the_broker_comes_from_the_environment_when_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NURSERY_TASKS_BROKER", raising=False)
    assert App().url == "sqlite:///nursery-tasks.db"
    monkeypatch.setenv("NURSERY_TASKS_BROKER", "memory:")
    assert App().url == "memory:"


async def test_an_app_that_is_not_open_says_how_to_open_it(memory_app: App) -> None:
    task = memory_app.task(nothing)
    for call in (task.enqueue, task.run, task.job().enqueue, task.job().run, memory_app.workers, memory_app.handle("x").status):
        with pytest.raises(AppNotOpen, match="async with app:"):
            await call()
    with pytest.raises(AppNotOpen):
        await memory_app.enqueue_many([task.job()])


async def test_an_app_is_not_open_any_more_after_its_block(memory_app: App) -> None:
    task = memory_app.task(nothing)
    async with memory_app:
        await task.enqueue()
    with pytest.raises(AppNotOpen):
        await task.enqueue()


async def test_an_app_can_be_opened_again_but_not_twice_at_once(memory_app: App) -> None:
    for _ in range(2):
        async with memory_app:
            with pytest.raises(AppAlreadyOpen, match="open it once per program"):
                async with memory_app:
                    pass


def test_an_app_can_be_opened_in_one_loop_after_another(app: App) -> None:
    task = app.task(nothing)

    async def main() -> None:
        async with working(app):
            await task.run()

    for backend in ("asyncio", "trio", "asyncio"):
        run(main, backend=backend)


async def test_an_error_of_the_block_comes_out_as_itself(app: App) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with app, app.open_worker():
            raise KeyError("mine")


def test_an_unsent_job_cannot_be_awaited(memory_app: App) -> None:
    job = memory_app.task(nothing).job()
    assert repr(job) == "<Job nothing()>"
    with pytest.raises(TypeError, match=r"is not sent: `await job.run\(\)` owns it"):
        job.__await__()


def test_outside_of_a_job_there_is_no_current_one() -> None:
    with pytest.raises(NotInJob, match=r"current_job\(\) works only inside a running job"):
        current_job()


async def test_a_task_can_be_run_here_without_broker_and_worker(memory_app: App, caplog: pytest.LogCaptureFixture) -> None:
    @memory_app.task(name="say")
    async def say(word: str) -> tuple[str, str | None, str | None, int]:
        job = current_job()
        job.progress(1)
        job.log.warning("here")
        return word, job.queue, job.worker, job.attempt

    with caplog.at_level(logging.WARNING):
        assert await say.run_local("x") == ("x", None, None, 1)
    [record] = caplog.records
    assert (record.name, getattr(record, "task", "")) == ("nursery_tasks.job.say", "say")


async def test_arguments_of_a_run_here_travel_as_those_of_a_job_do(memory_app: App) -> None:
    @memory_app.task
    async def double(number: int, day: date | None = None, *, path: Path = Path()) -> tuple[int, date | None, Path]:
        return 2 * number, day, path

    memory_app.register_type(Path, encode=str, decode=Path)
    given: Any = {"number": "notint"}
    with pytest.raises(InvalidArguments, match=r"double: argument 'number': Expected `int`, got `str`"):
        await double.run_local(**given)
    with pytest.raises(NotSerializable):
        await double.run_local(object())  # type: ignore[arg-type]
    assert await double.run_local(1, date(2030, 1, 1), path=Path("x")) == (2, date(2030, 1, 1), Path("x"))


async def test_a_task_that_says_it_returns_nothing_may_return_something(memory_app: App) -> None:
    given: Any = memory_app.task(name="shy")(lambda: 7)
    shy = memory_app.task(returning_none)
    async with working(memory_app):
        assert await given.run() == 7
        assert await shy.run() == 7  # type: ignore[func-returns-value]


def returning_none() -> None:
    return 7  # type: ignore[return-value]


@pytest.mark.parametrize("bytes_more", [0, 1])
async def test_progress_has_a_limit(app: App, bytes_more: int) -> None:
    @app.task
    async def talk() -> int:
        current_job().progress("x" * (64 * 1024 - 2 + bytes_more))
        return 1

    async with working(app):
        if not bytes_more:
            assert await talk.run() == 1
            return
        with pytest.raises(PayloadTooLarge, match="the progress of talk has 65,537 bytes, the limit is 65,536"):
            await talk.run()


def test_a_time_limit_that_a_thread_is_only_asked_to_keep_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "nursery_tasks.registry"):
        App("memory:").task(timeout=5)(print)
    assert "task print runs in a thread: its timeout of 5 s is asked for by check_cancelled()" in caplog.text


def test_a_time_limit_that_nothing_could_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "why_no_interpreters", lambda: None)
    with pytest.raises(InvalidOptions, match=r"timeout=5\.0: expected None: a handler in an interpreter cannot be told to end"):
        App("memory:").task(run_in="interpreter", timeout=5)(inspect.getdoc)
