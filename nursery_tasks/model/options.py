"""What can be set on a task, and per job."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Literal, TypedDict, cast

from ..errors import InvalidOptions
from .duration import LONGEST_SECONDS, Duration, to_optional_seconds, to_seconds
from .headers import NO_HEADERS, check_headers
from .keys import Key, Keyed
from .limits import AnyLimit, OrderingKey, check_limits, check_ordering_key
from .retry import Retry, RetryRule
from .slips import CALL_ONLY, Place, unknown_option
from .windows import Debounce, Throttle, check_debounce, check_throttle

Kind = Literal["loop", "thread", "process", "interpreter"]
DeliveryMode = Literal["at_least_once", "at_most_once"]
KINDS: Final = ("loop", "thread", "process", "interpreter")
AT_LEAST_ONCE: Final = "at_least_once"
AT_MOST_ONCE: Final = "at_most_once"
NOT_DURABLE: Final = "'at_least_once' for a durable workflow, whose function is run again; give it to the tasks that it runs"

DEFAULT_QUEUE: Final = "default"
MAX_PRIORITY: Final = 9
MAX_COUNT: Final = 1_000_000  # of crashes; it must fit every broker's integers
RESULT_TTL_SECONDS: Final = 86_400.0  # one day
DEAD_TTL_SECONDS: Final = 14 * 86_400.0  # failed and dead jobs wait longer: a person has to look at them
MAX_CRASHES: Final = 3
HARD_PAYLOAD_BYTES: Final = 16 * 1024 * 1024  # no app takes larger messages
MAX_PROGRESS_BYTES: Final = 64 * 1024  # it is stored anew each time, beside the job
KILL_AFTER_SECONDS: Final = 2.0  # for a handler in a process that was asked to end, before it is made to

_QUEUE = re.compile(r"[A-Za-z0-9_.-]{1,64}(@[A-Za-z0-9_.-]{1,64})?")  # after the @: the one node that serves it
_INBOX = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_INBOX_PREFIX: Final = "broadcast@"
_NAME = re.compile(r"[^\s\x00-\x1f\x7f\ud800-\udfff]{1,200}")  # no lone surrogates: UTF-8 cannot hold them


@dataclass(frozen=True, slots=True)
class JobOptions:
    """Everything that is fixed when a job is submitted. The task gives the defaults, `.options(...)` changes some.

    Attributes:
        queue: The queue's name.
        local: Only workers on this node may run the job.
        priority: 0 (default) to 9; higher goes first among the ready jobs of a queue.
        timeout_seconds: The longest that one attempt may run; None: no limit.
        retry: When a failed attempt is followed by another; None: never.
        delay_seconds: How long after its submission the job may start.
        start_at: The moment (epoch seconds) before which the job must not start; wins over the delay.
        expires_seconds: How long the job may wait for its first start; None: for ever.
        result_ttl_seconds: How long the outcome is kept.
        key: Unfinished jobs of one task with the same key exist only once.
        job_id: The job's id, for submitting again safely; None: a new one.
        tags: Words to find the job by.
        max_crashes: After how many dead workers the job is put aside.
        limits: How many may run at once, or start in a time.
        ordering_key: Jobs of one key start one at a time, in the order of submission.
        delivery: Whether a started job whose worker is lost is started again, or is dead.
        debounce, throttle: How submissions that belong together in time become one job.
        headers: What travels with it, and with the jobs that its handler submits.

    Raises:
        InvalidOptions: Two of them exclude each other.
    """

    queue: str = DEFAULT_QUEUE
    local: bool = False
    priority: int = 0
    timeout_seconds: float | None = None
    retry: RetryRule | None = None
    delay_seconds: float = 0.0
    start_at: float | None = None
    expires_seconds: float | None = None
    result_ttl_seconds: float = RESULT_TTL_SECONDS
    key: str | None = None
    job_id: str | None = None
    tags: tuple[str, ...] = ()
    max_crashes: int = MAX_CRASHES
    limits: tuple[AnyLimit, ...] = ()
    ordering_key: OrderingKey | None = None
    delivery: DeliveryMode = AT_LEAST_ONCE
    debounce: Debounce | None = None
    throttle: Throttle | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS, hash=False)
    changed: frozenset[str] = field(default=frozenset(), compare=False)  # what differs from the task: only that travels

    def __post_init__(self) -> None:
        if self.retry is not None and self.delivery == AT_MOST_ONCE:
            expected = "none, or retry=None, beside delivery='at_most_once': such a job is never started a second time"
            raise InvalidOptions("retry", self.retry, expected)
        if self.keyed_in_time is not None:
            self._check_time()

    @property
    def all_limits(self) -> tuple[AnyLimit | OrderingKey, ...]:
        """The limits, after the turn of the ordering key."""
        return self.limits if self.ordering_key is None else (self.ordering_key, *self.limits)

    def changed_by(self, given: GivenOptions) -> JobOptions:
        """Return a copy with what a user gave, checked.

        Raises:
            InvalidOptions: A value is out of its range, an option does not exist, or it does not go with another one.
        """
        checked = check_options(given)
        return replace(self, **checked, changed=self.changed | checked.keys())

    @property
    def keyed_in_time(self) -> Debounce | Throttle | None:
        """What makes one job of several submissions; None: each is one, but for its key."""
        return self.debounce or self.throttle

    @property
    def keyed(self) -> tuple[Keyed, ...]:
        """All that has a key which is made of the arguments."""
        return (*self.all_limits, *(each for each in (self.debounce, self.throttle) if each is not None))

    def _check_time(self) -> None:
        if self.debounce is not None and self.throttle is not None:
            expected = "no throttle= beside debounce=: one lets the first submission run, the other one the last"
            raise InvalidOptions("throttle", self.throttle, expected)
        in_time = self.keyed_in_time
        if in_time is not None and self.key is not None:
            expected = f"no key= beside {in_time.kind}=, which has one of its own: {type(in_time).__name__}(..., key=...)"
            raise InvalidOptions("key", self.key, expected)
        if self.debounce is not None and (self.delay_seconds or self.start_at is not None):
            option, value = ("delay", self.delay_seconds) if self.start_at is None else ("at", self.start_at)
            expected = f"no {option}= beside debounce=, which says itself when the job starts; debounce=None takes it away"
            raise InvalidOptions(option, value, expected)


class DefaultOptions(TypedDict, total=False):
    """The keywords that a task gives to all of its jobs: bare words, in seconds or as a timedelta where they are durations."""

    queue: str
    local: bool
    priority: int
    timeout: Duration | None
    retry: Retry | int | None
    delay: Duration
    expires: Duration | None
    result_ttl: Duration
    key: str | None
    tags: tuple[str, ...] | list[str]
    max_crashes: int
    limits: Sequence[AnyLimit] | AnyLimit
    ordering_key: OrderingKey | Key | None
    delivery: DeliveryMode
    debounce: Debounce | None
    throttle: Throttle | None
    headers: Mapping[str, str] | None


class GivenOptions(DefaultOptions, total=False):
    """The keywords of `.options(...)`: those, and what only one call can have."""

    at: datetime
    id: str


def check_options(given: Mapping[str, Any], place: Place = "call", own: Collection[str] = ()) -> dict[str, Any]:
    """Turn the public keywords into fields of `JobOptions`.

    Args:
        place: Where they were given.
        own: What else can be given there; it is left out.

    Raises:
        InvalidOptions: A value is out of its range, or an option does not exist there.
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name in own:
            continue
        if name not in _CHECKS or (place != "call" and name in CALL_ONLY):
            words = _CHECKS.keys() if place == "call" else (_CHECKS.keys() | set(own)) - set(CALL_ONLY)
            raise unknown_option(name, value, words, place)
        target, check = _CHECKS[name]
        checked[target] = check(name, value)
    return checked


def check_queue(option: str, value: object) -> str:
    """Check a queue's name."""
    if not isinstance(value, str) or not _QUEUE.fullmatch(value):
        raise InvalidOptions(option, value, "1 to 64 letters, digits, dots, dashes or underscores")
    return value


def inbox_of(worker: str) -> str:
    """Return the name of the queue that only this worker serves."""
    name = worker if _INBOX.fullmatch(worker) else sha256(worker.encode()).hexdigest()[:32]
    return f"{_INBOX_PREFIX}{name}"


def is_inbox(queue: str) -> bool:
    """Say whether a queue is of one worker alone. It lives as long as the worker, so servers have no queue for it."""
    return queue.startswith(_INBOX_PREFIX)


def check_name(option: str, value: object) -> str:
    """Check a task's name, a key or an id: 1 to 200 visible characters."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidOptions(option, value, "1 to 200 characters without spaces")
    return value


def to_retry_rule(option: str, value: object) -> RetryRule | None:
    """Check `retry=`: a `Retry`, a number of attempts, or None."""
    if value is None or isinstance(value, RetryRule):
        return value
    if isinstance(value, Retry):
        return value.to_rule()
    if isinstance(value, int) and not isinstance(value, bool):
        return Retry(value).to_rule()
    raise InvalidOptions(option, value, "Retry(...), a number of attempts, or None")


def _check_key(option: str, value: object) -> str | None:
    return None if value is None else check_name(option, value)


def _check_flag(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidOptions(option, value, "True or False")
    return value


def _check_priority(option: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_PRIORITY:
        raise InvalidOptions(option, value, f"a whole number from 0 to {MAX_PRIORITY}; higher goes first")
    return value


def _check_count(option: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidOptions(option, value, "1 or more")
    if value > MAX_COUNT:
        raise InvalidOptions(option, value, f"at most {MAX_COUNT:,}")
    return value


def _check_moment(option: str, value: object) -> float:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidOptions(option, value, "a datetime with a time zone, such as datetime.now(UTC) + timedelta(hours=1)")
    try:
        return value.astimezone(UTC).timestamp()
    except OverflowError:
        raise InvalidOptions(option, value, "a moment that is in the years 1 to 9999 in UTC, too") from None


def _check_tags(option: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, tuple | list):
        raise InvalidOptions(option, value, "a list of words")
    return tuple(check_name(option, tag) for tag in cast("tuple[object, ...]", value))


def _check_delivery(option: str, value: object) -> str:
    if value not in (AT_LEAST_ONCE, AT_MOST_ONCE):
        raise InvalidOptions(option, value, f"{AT_LEAST_ONCE!r} or {AT_MOST_ONCE!r}")
    return str(value)


def _check_delay(option: str, value: Duration) -> float:
    return to_seconds(option, value, at_most=LONGEST_SECONDS)


def _check_timeout(option: str, value: Duration | None) -> float | None:
    return to_optional_seconds(option, value, at_least=0.001)


_CHECKS: dict[str, tuple[str, Any]] = {  # public word -> (field of JobOptions, check)
    "queue": ("queue", check_queue),
    "local": ("local", _check_flag),
    "priority": ("priority", _check_priority),
    "timeout": ("timeout_seconds", _check_timeout),
    "retry": ("retry", to_retry_rule),
    "delay": ("delay_seconds", _check_delay),
    "at": ("start_at", _check_moment),
    "expires": ("expires_seconds", to_optional_seconds),
    "result_ttl": ("result_ttl_seconds", to_seconds),
    "key": ("key", _check_key),
    "id": ("job_id", check_name),
    "tags": ("tags", _check_tags),
    "max_crashes": ("max_crashes", _check_count),
    "limits": ("limits", check_limits),
    "ordering_key": ("ordering_key", check_ordering_key),
    "delivery": ("delivery", _check_delivery),
    "debounce": ("debounce", check_debounce),
    "throttle": ("throttle", check_throttle),
    "headers": ("headers", check_headers),
}

assert {target for target, _ in _CHECKS.values()} <= {field.name for field in fields(JobOptions)}
