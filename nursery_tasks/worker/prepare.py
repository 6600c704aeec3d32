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
from ..model.options import AT_MOST_ONCE, KINDS, Kind
from ..model.raw import unwrap_raw
from ..model.reasons import LOST_OR_GIVEN_BACK, once_over
from ..model.reply import Address
from ..model.retry import RetryRule
from ..registry import AWAY, Registry, TaskSpec, version_of
from .foreign import address_of, raw_message, raw_task, read_body, why_unread

UNKNOWN_GRACE_SECONDS: Final = 600.0  # time to deploy the newer code
# Where nothing can be parked: how long a job stays away at first and at most, and what part of the time since it was first seen
# lies between. It has to come by often before it meets the one new worker among many old ones, and not so often for ever.
UNKNOWN_PAUSES: Final = (0.25, 30.0)
UNKNOWN_PAUSE_PART: Final = 0.1
UNKNOWN_LIMIT: Final = 10_000  # jobs that are remembered
NAME_LIMIT: Final = 256  # characters of a name in a broker; tasks have shorter ones


class Call(msgspec.Struct, frozen=True):  # made for every job: a frozen dataclass takes three times as long
    """What to call, and under which rules.

    *payload* is the message for another process, where the delivery's own is none. *address*: where the answer goes. *once*:
    the handler is never started a second time, so its start is stored before. *rules*: of a batch, the retry policy of each
    job.
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
    once: bool = False
    rules: tuple[RetryRule | None, ...] = ()


@dataclass(frozen=True, slots=True)
class MarkDead:
    """Put the job aside: it cannot be run by anybody."""

    reason: str
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class ReleaseUnstarted:
    """Another worker may be able to run it.

    Attributes:
        park: It waits for a worker that knows this; None: anybody may have it after the delay.
    """

    delay_seconds: float
    detail: str
    park: str | None = None


@dataclass(frozen=True, slots=True)
class FailUnstarted:
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

    A job that it cannot run and that another worker may be able to is released: where the broker parks jobs, until a worker
    asks that knows it, for `UNKNOWN_GRACE_SECONDS`; elsewhere for a pause that grows. There it remembers when it has first seen
    each, and counts for itself, so a job ends too late rather than too early.

    Args:
        limit_bytes: Larger messages are marked as dead without being decoded.
        converts: Which kinds of tasks get converted arguments; others convert them where they run.
        parks: Whether the broker parks jobs.
        keeps_starts: Whether the broker never gives a job a second time that is delivered at most once.
    """

    def __init__(
        self,
        registry: Registry,
        limit_bytes: int,
        converts: Collection[Kind] = KINDS,
        *,
        parks: bool = True,
        keeps_starts: bool = True,
    ) -> None:
        self._registry = registry
        self._limit_bytes = limit_bytes
        self._converts = converts
        self._parks = parks
        self._keeps_starts = keeps_starts
        self._first_seen: dict[str, float] = {}

    def prepare(self, delivery: Delivery, now: float, since: float) -> Call | MarkDead | ReleaseUnstarted | FailUnstarted:
        """Decode a delivery, look its task up and convert its arguments.

        Args:
            now, since: This moment and that of the claim, on the loop's clock.
        """
        if len(delivery.payload) > self._limit_bytes:
            size = len(delivery.payload)
            return MarkDead(f"oversize: {size:,} bytes, this app's max_payload_bytes is {self._limit_bytes:,}")
        raw = raw_task(self._registry, delivery) if delivery.raw else None
        if raw is not None:
            return self._prepare_raw(delivery, raw)
        try:
            if not delivery.task:
                raise Undecodable(why_unread(delivery))
            message = self._registry.codec.decode_message(delivery.payload)
            address = None if message.reply_to is None else address_of(message, delivery)
        except Undecodable as error:
            return MarkDead(f"undecodable: {error}", self.find_address(delivery))
        spec = self._registry.tasks.get(message.task) or self._registry.own.get(message.task)
        if spec is None:
            released = self._release(delivery, message.task, f"no task is named {message.task!r} here", now)
            return released or MarkDead(unknown_for(message.task), address)
        once = _is_once(delivery, spec, message)
        if once and self._had_started(delivery):
            return MarkDead(once_over(LOST_OR_GIVEN_BACK), address)
        args: Any = message.args
        kwargs = message.kwargs
        try:
            if spec.kind in self._converts:
                args, kwargs = spec.signature.convert(message.args, message.kwargs, self._registry.codec)
            elif _is_of_ours(message, spec) and spec.batch is None:
                spec.signature.check(args, kwargs)
            else:  # where it runs, nobody could release it, or tell one job of a batch from the others
                spec.signature.convert(message.args, message.kwargs, self._registry.codec)
        except InvalidArguments as error:
            name = version_of(spec.name, message.fingerprint or "")
            why = f"made for another version of the task: {error}"
            released = None if _is_of_ours(message, spec) else self._release(delivery, name, why, now)
            return released or FailUnstarted(error, address)
        defaults = spec.options
        timeout = defaults.timeout_seconds if message.timeout is None else message.timeout or None
        deadline = None if message.remaining is None else deadline_of(message.remaining, delivery, since)
        retry = None if once else message.retry or defaults.retry
        return Call(spec, message, args, kwargs, timeout, retry, deadline, None, address, once)

    def _had_started(self, delivery: Delivery) -> bool:
        """Whether it may have started before. Of what the submission says so the broker knows; else the count tells."""
        if delivery.once:
            return False
        return delivery.attempt > 1 or delivery.crashes > 0 or (delivery.lapses > 0 and not self._keeps_starts)

    def find_address(self, delivery: Delivery) -> Address | None:
        """Return where the answer to a delivery goes that is not even prepared; None: nowhere, or nobody can tell."""
        raw = raw_task(self._registry, delivery) if delivery.raw else None
        if len(delivery.payload) > self._limit_bytes:
            return None
        try:
            if raw is not None and raw.raw is not None:
                head, body = unwrap_raw(delivery.payload)
                message = raw_message(raw, read_body(body, raw.raw, head), head)
            else:
                message = self._registry.codec.decode_message(delivery.payload)
            return address_of(message, delivery)
        except Undecodable:
            return None

    def _prepare_raw(self, delivery: Delivery, spec: TaskSpec) -> Call | MarkDead | FailUnstarted:
        """Make a call of what another program has put in, as it came. What does not fit is put aside: nobody sees the error."""
        assert spec.raw is not None
        codec = self._registry.codec
        head, body = unwrap_raw(delivery.payload)
        address = address_of(raw_message(spec, None, head), delivery)
        payload: bytes | None = None
        try:
            message = raw_message(spec, read_body(body, spec.raw, head), head)
            address = address_of(message, delivery)
            if (once := _is_once(delivery, spec, message)) and self._had_started(delivery):
                return MarkDead(once_over(LOST_OR_GIVEN_BACK), address)
            args, kwargs = spec.signature.convert(message.args, {}, codec)
            if spec.kind in AWAY:
                payload = codec.encode(f"the argument of {spec.name}", message)
        except (Undecodable, InvalidArguments, NotSerializable) as error:
            return MarkDead(f"undecodable for {spec.name}: {error}", address)
        options = spec.options
        return Call(spec, message, args, kwargs, options.timeout_seconds, options.retry, None, payload, address, once)

    def _release(self, delivery: Delivery, name: str, why: str, now: float) -> ReleaseUnstarted | None:
        """Release a job for workers that know *name*; None: its time is over."""
        name = name[:NAME_LIMIT]
        if self._parks:
            if delivery.parked == name:
                return None
            return ReleaseUnstarted(UNKNOWN_GRACE_SECONDS, f"{why}; it waits for a worker that knows it", name)
        waited = now - self._first_seen.setdefault(delivery.id, now)
        if waited >= UNKNOWN_GRACE_SECONDS:
            del self._first_seen[delivery.id]
            return None
        if len(self._first_seen) > UNKNOWN_LIMIT:
            del self._first_seen[next(iter(self._first_seen))]
        least, most = UNKNOWN_PAUSES
        return ReleaseUnstarted(min(max(least, waited * UNKNOWN_PAUSE_PART), most), why)


def _is_once(delivery: Delivery, spec: TaskSpec, message: Message) -> bool:
    """Whether the handler is started at most once: as the submission says, and for programs that have not seen the task."""
    if delivery.once or message.once is not None:
        return delivery.once or message.once is True
    return spec.options.delivery == AT_MOST_ONCE


def _is_of_ours(message: Message, spec: TaskSpec) -> bool:
    """Whether the arguments are for the function as it is here, as far as the message says."""
    return message.fingerprint in (None, spec.signature.fingerprint)


def unknown_for(task: str) -> str:
    """Say why a job is dead whose task no worker knew."""
    return f"unknown task {task!r}: no worker knew it for {UNKNOWN_GRACE_SECONDS:g} s"
