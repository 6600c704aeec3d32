"""How an app declares its stages: `@app.handler(...)`, `@app.listener(...)`, `@app.publisher(...)`, `@app.collector(...)`."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypedDict, TypeVar, Unpack, overload

from ..declaring import Declarations, TaskDecorator
from ..errors import DuplicateTask, InvalidOptions
from ..model.batch import Batch
from ..model.channel_message import ChannelMessage
from ..model.duration import Duration, to_optional_seconds
from ..model.options import DeliveryMode, check_name
from ..model.retry import Retry
from ..model.stage import (
    BUFFER,
    MAX_WAITING,
    PREFETCH,
    STAGE_RESULT_TTL_SECONDS,
    Place,
    Stage,
    StageKind,
    to_place,
    to_places,
)
from ..registry import is_async
from ..task import AsyncTask, SyncTask, Task
from .functions import check_folds, check_takes_one, check_yields, flush_function, item_type, place_of, returns_of
from .handles import Collector, Publisher
from .many import streamed

if TYPE_CHECKING:
    from ..channels.facade import Channels
    from .collector import CollectorState
    from .publisher import PublisherRun

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

BATCH = Batch(500, wait=0.1)  # items that are folded and stored in one step
_STAGE_OWN = ("queue", "raw", "reply_to", "batch", "limits", "ordering_key", "debounce", "throttle")


class StageOptions(TypedDict, total=False):
    """The keywords of a stage beside its own: what its jobs have in common, and where they run. See `Task.options`."""

    name: str
    run_in: str
    kill_after: Duration
    priority: int
    timeout: Duration | None
    retry: Retry | int | None
    result_ttl: Duration
    tags: tuple[str, ...] | list[str]
    max_crashes: int
    delivery: DeliveryMode


class StageDeclarations(Declarations):
    """The stages of an app.

    Attributes:
        channels: The app's channels, by name.
        publishers, collectors: What is declared, by name.
    """

    channels: Channels

    def __init__(self, codec: Any) -> None:
        super().__init__(codec)
        self.publishers: dict[str, PublisherRun] = {}
        self.collectors: dict[str, CollectorState] = {}

    @overload
    def handler(
        self,
        source: str,
        /,
        *,
        reply: str | Sequence[str] | None = None,
        many: Literal[False] = False,
        buffer: int = BUFFER,
        prefetch: int = PREFETCH,
        max_waiting: int = MAX_WAITING,
        same_by: Callable[[ChannelMessage], str] | None = None,
        **given: Unpack[StageOptions],
    ) -> TaskDecorator: ...
    @overload
    def handler(
        self,
        source: str,
        /,
        *,
        many: Literal[True],
        reply: str | Sequence[str] | None = None,
        buffer: int = BUFFER,
        prefetch: int = PREFETCH,
        max_waiting: int = MAX_WAITING,
        same_by: Callable[[ChannelMessage], str] | None = None,
        **given: Unpack[StageOptions],
    ) -> ManyDecorator: ...
    def handler(
        self,
        source: str,
        /,
        *,
        reply: str | Sequence[str] | None = None,
        many: bool = False,
        buffer: int = BUFFER,
        prefetch: int = PREFETCH,
        max_waiting: int = MAX_WAITING,
        same_by: Callable[[ChannelMessage], str] | None = None,
        **given: Unpack[StageOptions],
    ) -> Any:
        """Make each message of a place a job, and what the function returns a message.

            @app.handler("rabbit:orders", reply="cache:invoices")
            async def bill(order: Order) -> Invoice: ...

        The job is a task's like others: it has retries, a time limit, a place in the listings, and where it fails for good, its
        bytes can be looked at and run again. What it returns leaves in the step that stores that it has succeeded.

        The annotation of the one parameter says how a message is read: `bytes` and `str` as they are, `ChannelMessage` with all
        that was said beside the body, and else JSON of that type. Results go out in the same way; None is silence.

        Args:
            source: `channel:place`, with a channel of `App(channels={...})`; or the name of a queue of the app's broker.
            reply: Where results go, one place or several, each of which gets all. None: to where the message says that an
                answer is awaited, on its own channel; and nowhere, if it does not.
            many: The function yields, or returns a list: each item is a message, in this order. Up to 1,000 leave together,
                with the outcome; of more, a thousand at a time while it goes on.
            buffer: How many messages may wait to leave for a destination, before no more jobs of this stage begin.
            prefetch: How many messages of the source may be here and not stored yet.
            max_waiting: How many jobs may wait in the stage's queue, before no more messages are taken from a channel.
            same_by: Returns what two copies of one message have in common; default: the message's id, where it has one. The
                second one stores nothing, for as long as the outcome of the first is kept (`result_ttl`, here one hour).
            given: See `App.task`.

        Raises:
            InvalidOptions: A value makes no sense, or another stage reads from there.
            DuplicateTask: The name is taken.
        """
        reply_to = self._places(reply)
        stage = self._stage(
            "handler", source, reply_to, many=many, buffer=buffer, prefetch=prefetch, max_waiting=max_waiting, same_by=same_by
        )
        decorator = ManyDecorator if many else TaskDecorator
        return decorator(lambda function: self._register_stage(function, stage, dict(given)))

    def listener(
        self,
        source: str,
        /,
        *,
        prefetch: int = PREFETCH,
        max_waiting: int = MAX_WAITING,
        same_by: Callable[[ChannelMessage], str] | None = None,
        **given: Unpack[StageOptions],
    ) -> TaskDecorator:
        """Make each message of a place a job without a result. See `handler`."""
        stage = self._stage("listener", source, (), prefetch=prefetch, max_waiting=max_waiting, same_by=same_by)
        return TaskDecorator(lambda function: self._register_stage(function, stage, dict(given)))

    def publisher(
        self, reply: str | Sequence[str], /, *, buffer: int = BUFFER, name: str | None = None
    ) -> Callable[[F], Publisher[F]]:
        """Send what a generator yields, once, from whichever worker lives.

            @app.publisher("rabbit:numbers")
            async def numbers() -> AsyncIterator[int]: ...

        The function is a generator, async or not (that one runs in a thread). One worker at a time iterates it. When that dies,
        another one goes on after the last item that was put out: it starts the generator again, and skips as many items; or
        gives the last cursor to its parameter `cursor`, if it has one. That is what an `Item` says, else the number of items.
        When it ends the publisher is done, and is run again only by `restart()`. One that raises is started again, five times
        without a single item in between.

        Args:
            reply: Where the items go, one place or several.
            buffer: How many items may wait in the outbox; while it is full, the generator is not asked for more.
            name: Its name; default: the function's.

        Raises:
            InvalidOptions: A value makes no sense.
            DuplicateTask: The name is taken.
        """
        places = self._places(reply)
        if not places:
            raise InvalidOptions("reply", reply, "where the items go, such as 'rabbit:numbers'")
        _check_count("buffer", buffer)

        def declare(function: F) -> Publisher[F]:
            from .publisher import PublisherRun  # late: most apps have none

            check_yields(function)
            named = check_name("name", name or function.__name__)
            known = self.publishers.get(named)
            if known is not None and known.place != place_of(function):
                raise DuplicateTask(named, known.place, place_of(function))
            run = self.publishers[named] = PublisherRun(self, named, function, places, buffer)
            return Publisher(function, run)

        return declare

    def collector(
        self,
        source: str,
        /,
        *,
        every: int | None = None,
        wait: Duration | None = None,
        initial: Any = 0,
        running: bool = False,
        reply: str | Sequence[str] | None = None,
        on_flush: Callable[[Any], Any] | None = None,
        prefetch: int = BATCH.size,
        max_waiting: int = 10 * MAX_WAITING,
        same_by: Callable[[ChannelMessage], str] | None = None,
        **given: Unpack[StageOptions],
    ) -> Callable[[Callable[[R, T], R | Coroutine[Any, Any, R]]], Collector[R, T]]:
        """Fold the messages of a place into one total, which survives the workers.

            @app.collector("rabbit:sales", every=100, wait=5, reply="cache:sums")
            def add(total: int, sale: int) -> int:
                return total + sale

        A message counts once, whatever dies when. The function is called with the total and an item, and returns the next
        total; it should do nothing else, because it is called again where another worker was faster. Items that it raises for
        are not counted; their jobs have failed, and are tried again if there is a `retry`.

        The total leaves after `every` items, `wait` seconds after the first one, and when a pipeline ends; then the next one
        begins with `initial`, or, if it is *running*, goes on.

        Args:
            source: Where the items come from; see `handler`.
            every: After how many items the total leaves; None: not by their number.
            wait: How long after its first item it leaves at the latest, in seconds or as a timedelta; None: not by time.
            initial: The total before the first item, of the total's annotated type.
            running: Whether the total goes on after it has left.
            reply: Where totals go, one place or several.
            on_flush: Called with each total, as a job of its own: it has the name of the collector and `.flush`.
            prefetch, max_waiting, same_by, given: See `handler`.

        Raises:
            InvalidOptions: A value makes no sense, or another stage reads from there.
            DuplicateTask: The name is taken.
        """
        if every is not None:
            _check_count("every", every)
        wait_seconds = to_optional_seconds("wait", wait, at_least=0.001)
        places = self._places(reply)
        stage = self._stage("collector", source, (), prefetch=prefetch, max_waiting=max_waiting, same_by=same_by)

        def declare(function: Callable[[R, T], Any]) -> Collector[R, T]:
            from .collector import CollectorState, batch_function, types_of  # late: most apps have none

            check_folds(function)
            if is_async(function) is False and given.get("run_in", "thread") != "thread":
                expected = "'thread' (or nothing) for a collector: its totals stay here"
                raise InvalidOptions("run_in", given.get("run_in"), expected)
            total_type, of_items = types_of(function)
            name = given.get("name") or function.__name__
            flushes = () if on_flush is None else (Place("", f"{name}.flush"),)
            state = CollectorState(
                self,
                name,
                function,
                total_type,
                (*places, *flushes),
                every=every,
                wait_seconds=wait_seconds,
                running=running,
                initial=initial,
            )
            options: dict[str, Any] = {**given, "name": name, "batch": BATCH}
            options.pop("run_in", None)
            task = self._register_stage(batch_function(function, state.fold_batch, of_items), stage, options)
            self.collectors[name] = state
            if on_flush is not None:
                self._register_flush(name, on_flush, total_type)
            return Collector(function, task, state)

        return declare

    def _stage(
        self,
        kind: StageKind,
        source: str,
        reply: tuple[Place, ...],
        *,
        many: bool = False,
        buffer: int = BUFFER,
        prefetch: int,
        max_waiting: int,
        same_by: Callable[[ChannelMessage], str] | None,
    ) -> Stage:
        place = self._known("source", to_place("source", source))
        for word, value in (("buffer", buffer), ("prefetch", prefetch), ("max_waiting", max_waiting)):
            _check_count(word, value)
        return Stage(kind, place, reply, many, Any, buffer, prefetch, max_waiting, same_by)

    def _known(self, option: str, place: Place) -> Place:
        """Refuse a place of a channel that the app does not have."""
        if place.channel and place.channel not in self.channels:
            known = ", ".join(f"{each}:" for each in self.channels) or "none: App(..., channels={...}) names them"
            raise InvalidOptions(option, str(place), f"a place of one of the app's channels ({known}), or a queue's name")
        return place

    def _places(self, given: object) -> tuple[Place, ...]:
        return tuple(self._known("reply", place) for place in to_places("reply", given))

    def _register_stage(self, function: Callable[..., Any], stage: Stage, given: dict[str, Any]) -> Task[Any, Any]:
        for word in _STAGE_OWN:
            if word in given and word != "batch":
                expected = f"no {word}= for a {stage.kind}: it is a stage, with a queue of its own"
                raise InvalidOptions(word, given[word], expected)
        queue = stage.source.queue
        returns = returns_of(function)
        if stage.many:
            function = streamed(function)
        elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidOptions("function", function.__qualname__, "many=True for a function that yields")
        given.setdefault("result_ttl", STAGE_RESULT_TTL_SECONDS)
        stage = replace(stage, gives=item_type(returns) if stage.many else returns)
        check_takes_one(function, stage.kind)
        return self._register(function, {**given, "queue": queue, "raw": True}, stage)

    def _register_flush(self, collector: str, on_flush: Callable[[Any], Any], total_type: Any) -> None:
        name = f"{collector}.flush"
        stage = self._stage("listener", name, (), prefetch=1, max_waiting=MAX_WAITING, same_by=None)
        self._register_stage(flush_function(on_flush, total_type), stage, {"name": name})


class ManyDecorator:
    """What `@app.handler(..., many=True)` gives: a task that returns a list."""

    def __init__(self, register: Callable[[Callable[..., Any]], Any]) -> None:
        self._register = register

    @overload
    def __call__(self, function: Callable[P, AsyncIterator[R]], /) -> AsyncTask[P, list[R]]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, Sequence[R]]], /) -> AsyncTask[P, list[R]]: ...
    @overload
    def __call__(self, function: Callable[P, Iterator[R] | Sequence[R]], /) -> SyncTask[P, list[R]]: ...
    def __call__(self, function: Callable[..., Any], /) -> Any:
        return self._register(function)


def _check_count(option: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        raise InvalidOptions(option, value, "a whole number from 1 to 1,000,000")
    return value
