"""What is paused, as one worker knows it: it gives such a job back before its attempt, parked for as long as the pause lasts.

Brokers never look into messages, so it is the worker that knows which jobs a pause is about. It reads the list when a hint or
a sweep says that there is another one: within a second of a change, or two where the hint was lost. When nothing is paused, a
job costs one look at `some`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from anyio import Event

from ..brokers.gateway import Gateway
from ..errors import BrokerError, InvalidArguments, NotSerializable
from ..log_throttle import LogThrottle
from ..model.delivery import Delivery, Swept, Topic
from ..model.pauses import PauseRecord, value_text
from ..registry import Registry
from .prepare import Call, ReleaseUnstarted

PARK_SECONDS: Final = 86_400.0  # then a worker looks at the job again, whatever has become of the pause

Step = TypeVar("Step")
Values = dict[tuple[str, ...], dict[tuple[str, ...], PauseRecord]]  # names of arguments -> their values -> the pause

_log = logging.getLogger("nursery_tasks.worker")


class PauseWatch:
    """The pauses that one worker heeds.

    Args:
        on_read: Called when the list was read: jobs of what is not in it any more may come back.

    Attributes:
        some: Whether anything is paused.
    """

    def __init__(self, gateway: Gateway, registry: Registry, on_read: Callable[[], None]) -> None:
        self.some = False
        self._gateway = gateway
        self._registry = registry
        self._on_read = on_read
        self._version = 0
        self._tasks: dict[str, PauseRecord] = {}
        self._values: dict[str, Values] = {}
        self._wake = Event()
        self._not_read = LogThrottle(_log)

    def on_pause(self, topic: Topic, names: set[str] | None) -> None:
        """Take a hint that something was paused or goes on."""
        self._wake.set()

    def on_swept(self, swept: Swept) -> None:
        """Hear of the latest version of the list."""
        if swept.pauses != self._version:
            self._wake.set()

    async def catch_up(self, swept: Swept) -> None:
        """Read the list if it is another one, before the first claim; a broker that is away is left to `serve`."""
        if swept.pauses != self._version:
            await self._try_to_read()

    async def serve(self) -> None:
        """Read the list when it has changed, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = Event()
            await self._try_to_read()

    def judge(self, delivery: Delivery, step: Step) -> Step | ReleaseUnstarted:
        """Return what is to become of a delivery: *step*, as was decided so far, or that it waits for the end of a pause."""
        call = step if isinstance(step, Call) else None
        task = delivery.task if call is None else call.spec.name
        pause = self._tasks.get(task)
        if pause is None and call is not None and (values := self._values.get(task)):
            pause = self._find(call, values)
        return step if pause is None else ReleaseUnstarted(PARK_SECONDS, _why(pause), pause.name)

    def _find(self, call: Call, values: Values) -> PauseRecord | None:
        """Return the pause that is about one of the values that a job has."""
        texts = self._texts(call)
        for names, pauses in values.items():
            given = tuple(texts.get(name) for name in names)
            if (pause := pauses.get(given)) is not None:  # type: ignore[arg-type]  # None is no value there
                return pause
        return None

    def _texts(self, call: Call) -> Mapping[str, str]:
        """Return the arguments of a job by name as texts, defaults included."""
        message, codec = call.message, self._registry.codec
        try:
            arguments: dict[str, Any] = {**call.spec.signature.by_name(message.args, message.kwargs), **message.kwargs}
            return {name: value_text(codec.plain(value)) for name, value in arguments.items()}
        except (InvalidArguments, NotSerializable):  # the handler will say so, or never sees it
            return {}

    async def _try_to_read(self) -> None:
        pauses = self._gateway.broker.pauses
        if pauses is None:
            return
        try:
            listed = await self._gateway.call(pauses.list_pauses)
        except BrokerError as error:
            self._not_read.log("cannot read what is paused, and ask again after the next sweep: %s", error)
            return
        tasks: dict[str, PauseRecord] = {}
        values: dict[str, Values] = {}
        for pause in listed.records:
            if pause.where:
                names, texts = zip(*sorted(pause.where.items()), strict=True)
                values.setdefault(pause.task, {}).setdefault(names, {})[texts] = pause
            else:
                tasks[pause.task] = pause
        self._tasks, self._values, self._version = tasks, values, listed.version
        self.some = bool(tasks or values)
        self._on_read()


def _why(pause: PauseRecord) -> str:
    which = "".join(f" where {name} is {value!r}" for name, value in pause.where.items())
    return f"{pause.task} is paused{which}{f': {pause.note}' if pause.note else ''}"
