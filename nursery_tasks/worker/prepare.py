"""Before an attempt: is this a job that can run here? Everything that cannot is decided without running anything."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ..errors import InvalidArguments, NotSerializable
from ..model.codec import Undecodable
from ..model.delivery import Delivery
from ..model.message import Message
from ..model.options import KINDS, Kind
from ..model.raw import unwrap_raw
from ..model.reply import Address
from ..model.retry import RetryRule
from ..registry import AWAY, Registry, TaskSpec
from .foreign import address_of, raw_message, raw_task, read_body

UNKNOWN_DELAY_SECONDS: Final = 30.0  # another worker may know the task
UNKNOWN_GRACE_SECONDS: Final = 600.0  # time to deploy the newer code
UNKNOWN_LIMIT: Final = 10_000  # jobs that are remembered


class Call(msgspec.Struct, frozen=True):  # made for every job: a frozen dataclass takes three times as long
    """What to call, and under which rules.

    *payload* is the message for another process, where the delivery's own is none. *address*: where the answer goes.
    """

    spec: TaskSpec
    message: Message
    args: Any
    kwargs: dict[str, Any]
    timeout_seconds: float | None
    retry: RetryRule | None
    deadline: float | None  # of the caller who awaits it, on the loop's clock
    payload: bytes | None = None
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Bury:
    """Put the job aside: it cannot be run by anybody."""

    reason: str
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Another worker may be able to run it."""

    delay_seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The job has failed, and trying again would not help."""

    error: InvalidArguments
    address: Address | None = None


def deadline_of(remaining_seconds: float, delivery: Delivery, since: float) -> float | None:
    """Return when the caller's deadline is over, on the clock that *since* is on: what was left, minus the job's age.

    Only while it has an owner: a person who puts a job back into its queue does not want it to end as its caller wanted.
    """
    return since + remaining_seconds - delivery.age_seconds if delivery.owned else None


class Preparer:
    """Makes calls of deliveries, for one worker.

    It remembers the jobs whose task it does not know, with the moment when each was first seen here. A worker counts for
    itself, from its own start, so a job is buried too late rather than too early.

    Args:
        limit_bytes: Larger messages are buried without being decoded.
        converts: Which kinds of tasks get converted arguments; others convert them where they run.
    """

    def __init__(self, registry: Registry, limit_bytes: int, converts: Collection[Kind] = KINDS) -> None:
        self._registry = registry
        self._limit_bytes = limit_bytes
        self._converts = converts
        self._first_seen: dict[str, float] = {}

    def prepare(self, delivery: Delivery, now: float, since: float) -> Call | Bury | GiveBack | Refuse:
        """Decode a delivery, look its task up and convert its arguments.

        Args:
            now, since: This moment and that of the claim, on the loop's clock.
        """
        size = len(delivery.payload)
        if size > self._limit_bytes:
            return Bury(f"oversize: {size:,} bytes, this app's max_payload_bytes is {self._limit_bytes:,}")
        raw = raw_task(self._registry, delivery) if delivery.raw else None
        if raw is not None:
            return self._prepare_raw(delivery, raw)
        try:
            message = self._registry.codec.decode_message(delivery.payload)
            address = None if message.reply_to is None else address_of(message, delivery)
        except Undecodable as error:
            more = f"; and no task here takes what is raw on queue {delivery.queue!r}" if delivery.raw else ""
            return Bury(f"undecodable: {error}{more}")
        spec = self._registry.tasks.get(message.task) or self._registry.own.get(message.task)
        if spec is None:
            return self._judge_unknown(delivery.id, message.task, now, address)
        args: Any = message.args
        kwargs = message.kwargs
        try:
            if spec.kind in self._converts:
                args, kwargs = spec.signature.convert(message.args, message.kwargs, self._registry.codec)
            else:
                spec.signature.check(args, kwargs)
        except InvalidArguments as error:
            return Refuse(error, address)
        defaults = spec.options
        timeout = defaults.timeout_seconds if message.timeout is None else message.timeout or None
        deadline = None if message.remaining is None else deadline_of(message.remaining, delivery, since)
        return Call(spec, message, args, kwargs, timeout, message.retry or defaults.retry, deadline, address=address)

    def find_address(self, delivery: Delivery) -> Address | None:
        """Return where the answer to a delivery goes that is not even prepared; None: nowhere, or nobody can tell."""
        raw = raw_task(self._registry, delivery) if delivery.raw else None
        if len(delivery.payload) > self._limit_bytes:
            return None
        try:
            if raw is not None and raw.raw is not None:
                head, body = unwrap_raw(delivery.payload)
                message = raw_message(raw, read_body(body, raw.raw), head)
            else:
                message = self._registry.codec.decode_message(delivery.payload)
            return address_of(message, delivery)
        except Undecodable:
            return None

    def _prepare_raw(self, delivery: Delivery, spec: TaskSpec) -> Call | Bury | Refuse:
        """Make a call of what another program has put in, as it came. What does not fit is put aside: nobody sees the error."""
        assert spec.raw is not None
        codec = self._registry.codec
        head, body = unwrap_raw(delivery.payload)
        address = address_of(raw_message(spec, None, head), delivery)
        payload: bytes | None = None
        try:
            message = raw_message(spec, read_body(body, spec.raw), head)
            address = address_of(message, delivery)
            args, kwargs = spec.signature.convert(message.args, {}, codec)
            if spec.kind in AWAY:
                payload = codec.encode(f"the argument of {spec.name}", message)
        except (Undecodable, InvalidArguments, NotSerializable) as error:
            return Bury(f"undecodable for {spec.name}: {error}", address)
        options = spec.options
        return Call(spec, message, args, kwargs, options.timeout_seconds, options.retry, None, payload, address)

    def _judge_unknown(self, job_id: str, task: str, now: float, address: Address | None) -> Bury | GiveBack:
        """Give a job back for other workers, or bury it when its time is over."""
        first = self._first_seen.setdefault(job_id, now)
        if now - first < UNKNOWN_GRACE_SECONDS:
            if len(self._first_seen) > UNKNOWN_LIMIT:
                del self._first_seen[next(iter(self._first_seen))]
            return GiveBack(UNKNOWN_DELAY_SECONDS, f"no task is named {task!r} here")
        del self._first_seen[job_id]
        return Bury(f"unknown task {task!r}: no worker knew it for {UNKNOWN_GRACE_SECONDS:g} s", address)
