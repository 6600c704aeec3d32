"""What a job gives back: values of the type that the task is annotated with, and errors as themselves."""

import errno
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest
from anyio import create_task_group
from pydantic import BaseModel
from support import working

from nursery_tasks import App, JobState, Retry
from nursery_tasks.errors import InvalidArguments, NotSerializable, PayloadTooLarge, RemoteError, UnknownTask
from nursery_tasks.model.codec import Format

DAY = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Size:
    width: int
    height: int = 1


class Pixel(msgspec.Struct):
    at: tuple[int, int]
    colour: "Colour"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class User(BaseModel):
    name: str
    born: datetime


class Money:
    """A class that only `register_type` can make travel."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture(params=["json", "msgpack"])
def app(request: pytest.FixtureRequest, url: str) -> App:
    """Both formats, on both brokers."""
    app = App(url, codec=request.param)
    app.register_type(Money, encode=lambda money: money.cents, decode=Money)
    return app


def same(app: App, annotation: Any) -> Any:
    """Make a task that takes and gives a value of one type."""

    async def give_back(value: Any) -> Any:
        return value

    give_back.__annotations__ = {"value": annotation, "return": annotation}
    return app.task(give_back)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the loop has no part in it
@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 7),
        (float, 0.5),
        (str, "ä\n\u2028\U0001f600"),
        (bytes, b"\x00\xff"),
        (bool, False),
        (None, None),
        (list[int], []),
        (set[int], {3, 1}),
        (tuple[int, str], (1, "a")),
        (datetime, datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        (timedelta, timedelta(seconds=1.5)),
        (UUID, UUID(int=7)),
        (Decimal, Decimal("1.10")),
        (Colour, Colour.BLUE),
        (Size, Size(3)),
        (list[Size], [Size(1), Size(2, 3)]),
        (Pixel, Pixel((1, 2), Colour.RED)),
        (User, User(name="Ada", born=datetime(1815, 12, 10, tzinfo=UTC))),
        (Money, Money(3)),
        (dict[str, Money], {"a": Money(1)}),
        (User | None, None),
        (Any, [1, None, {"a": 2}]),
    ],
    ids=lambda value: str(getattr(value, "__name__", value))[:24].replace(" ", "_"),
)
async def test_a_value_goes_there_and_back_as_its_type(app: App, annotation: Any, value: Any) -> None:
    task = same(app, annotation)
    async with working(app):
        assert await task.run(value) == value
        job = await task.enqueue(value)
        assert await job == value
        assert type(await task.handle(job.id)) is type(value)


async def test_a_handle_that_knows_no_type_gives_plain_data(app: App) -> None:
    @app.task
    async def measure() -> Size:
        return Size(3)

    async with working(app):
        job = await measure.enqueue()
        assert await job == Size(3)
        assert await app.handle(job.id) == {"width": 3, "height": 1}
        assert await app.job("measure").run() == Size(3)  # the name is known here, and so is the type


@pytest.mark.parametrize(("caller_form", "worker_form"), [("json", "msgpack"), ("msgpack", "json")])
async def test_programs_with_different_formats_understand_each_other(
    caller_form: Format, worker_form: Format, tmp_path: Any
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    caller, worker = App(url, codec=caller_form), App(url, codec=worker_form)

    async def draw(size: Size, data: bytes, at: datetime, user: User) -> tuple[Size, bytes, datetime, User]:
        return size, data, at, user

    @worker.task
    async def fail() -> None:
        raise OSError(errno.ENOSPC, "full", "/x")

    worker.task(draw)
    task, values = (
        caller.task(draw),
        (Size(1), b"\xff", DAY, User(name="x", born=DAY)),
    )
    async with working(worker), caller:
        assert await task.run(*values) == values
        with pytest.raises(OSError, match="full") as caught:
            await caller.job("fail").run()
        assert caught.value.errno == errno.ENOSPC


# --- what cannot come back ---------------------------------------------------------------------------------------------------


async def test_a_result_that_cannot_travel_fails_its_job_and_nothing_else(app: App) -> None:
    @app.task(retry=5)
    async def give(what: str) -> Any:
        runs.append(what)
        return {"set": {1, 2}, "object": object(), "text": "\udcff", "frozen": frozenset()}[what]

    runs: list[str] = []
    async with working(app, slots=2):
        for what in ("set", "object", "text", "frozen"):
            with pytest.raises(NotSerializable, match="the result of give cannot be encoded"):
                await give.run(what)
        assert runs == ["set", "object", "text", "frozen"]  # the same again would not help


async def test_a_result_that_is_too_large_fails_its_job(url: str) -> None:
    app = App(url, max_payload_bytes=1000)

    @app.task
    async def give(size: int) -> str:
        return "x" * size

    async with working(app):
        with pytest.raises(PayloadTooLarge, match=r"the result of give has 2,002 bytes, the limit is 1,000"):
            await give.run(2000)
        assert len(await give.run(900)) == 900


async def test_an_encoder_that_breaks_fails_its_job_and_the_next_one_runs(app: App) -> None:
    class Broken:
        pass

    def encode(value: Broken) -> Any:
        raise LookupError("broken encoder")

    app.register_type(Broken, encode=encode, decode=lambda data: Broken())

    @app.task
    async def give(well: bool) -> Any:
        return 1 if well else Broken()

    async with working(app, slots=1):
        with pytest.raises(NotSerializable, match="broken encoder"):
            await give.run(False)
        assert await give.run(True) == 1


async def test_a_result_of_another_type_is_an_error_that_says_so(app: App) -> None:
    @app.task
    async def lie() -> int:
        return "text"  # type: ignore[return-value]

    async with working(app):
        with pytest.raises(RemoteError, match=r"the result of lie is not <class 'int'>: Expected `int`, got `str`") as caught:
            await lie.run()
        assert caught.value.type_name == "InvalidResult"


async def test_an_argument_of_another_type_fails_the_job_without_running_it(app: App) -> None:
    ran = []

    @app.task(retry=5)
    async def double(x: list[int]) -> list[int]:
        ran.append(x)
        return 2 * x

    async with working(app):
        with pytest.raises(InvalidArguments, match="argument 'x': Expected `int`, got `str`"):
            await double.run(["text"])  # type: ignore[list-item]
        with pytest.raises(InvalidArguments, match="argument 'x'"):
            await double.run(x=["text"])  # type: ignore[list-item]
        job = await double.enqueue(["text"])  # type: ignore[list-item]
        outcome = await job.outcome()
        assert (outcome.state, outcome.attempt) == (JobState.FAILED, 1)
    assert ran == []


async def test_a_decoder_that_breaks_fails_its_job_and_the_next_one_runs(app: App) -> None:
    def decode(cents: Any) -> Money:
        if cents < 0:
            raise LookupError("no such money")
        return Money(cents)

    app.register_type(Money, encode=lambda money: money.cents, decode=decode)
    pay = same(app, Money)
    async with working(app, slots=1):
        with pytest.raises(InvalidArguments, match="no such money"):
            await pay.run(Money(-1))
        assert await pay.run(Money(1)) == Money(1)


# --- errors ------------------------------------------------------------------------------------------------------------------


class Refused(Exception):
    def __init__(self, *, code: int) -> None:
        self.code = code
        super().__init__(f"code {code}")


async def test_an_error_comes_back_as_itself_when_its_class_is_known(url: str) -> None:
    app = App(url, errors=[Refused])

    @app.error
    class Unlucky(Exception):
        pass

    @app.task
    async def fail(how: int) -> None:
        if how == 0:
            raise KeyError("k")
        if how == 1:
            raise Refused(code=7)
        raise Unlucky("x")

    async with working(app):
        with pytest.raises(KeyError, match="k"):
            await fail.run(0)
        with pytest.raises(Refused, match="code 7") as caught:
            await fail.run(1)
        assert caught.value.code == 7
        assert "in fail" in caught.value.__notes__[-1]
        with pytest.raises(Unlucky):
            await (await fail.enqueue(2))


async def test_the_errors_that_a_retry_names_are_known(app: App) -> None:
    @app.task(retry=Retry(1, on=Refused))
    async def fail() -> None:
        raise Refused(code=3)

    async with working(app):
        with pytest.raises(Refused):
            await fail.run()


async def test_an_error_of_a_class_that_is_not_known_is_a_remote_error(app: App) -> None:
    @app.task
    async def fail() -> None:
        raise Refused(code=7)

    async with working(app):
        job = await fail.enqueue()
        with pytest.raises(RemoteError, match=r"^test_results\.Refused: code 7\n") as caught:
            await job
        assert (caught.value.job_id, caught.value.task) == (job.id, "fail")
        assert "raise Refused(code=7)" in caught.value.remote_traceback
        outcome = await job.outcome()
        assert outcome.error is not None
        assert outcome.error.type == "test_results.Refused"
        assert await job.failed()
        assert not await job.succeeded()


async def test_the_errors_of_a_nursery_arrive_as_a_group(app: App) -> None:
    @app.task
    async def fail() -> None:
        async def child(error: Exception) -> None:
            raise error

        async with create_task_group() as tg:
            tg.start_soon(child, ValueError("v"))
            tg.start_soon(child, KeyError("k"))

    seen = set()
    async with working(app):
        try:
            await fail.run()
        except* ValueError:
            seen.add("v")
        except* KeyError:
            seen.add("k")
    assert "v" in seen or "k" in seen


async def test_the_error_of_a_job_within_a_job_passes_through_both(app: App) -> None:
    @app.task
    async def inner() -> None:
        raise UnknownTask("their", ["our"])

    @app.task
    async def outer() -> None:
        await inner.run()

    async with working(app):
        with pytest.raises(UnknownTask, match="no task is named 'their'") as caught:
            await outer.run()
        assert list(caught.value.known) == ["our"]


async def test_no_error_of_a_job_is_logged_by_the_worker(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    async def fail() -> None:
        raise ValueError("mine")

    with caplog.at_level(logging.WARNING):
        async with working(app):
            with pytest.raises(ValueError, match="mine"):
                await fail.run()
    assert caplog.records == []
