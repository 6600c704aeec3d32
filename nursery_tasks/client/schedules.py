"""`app.schedules`: what is run again and again, put and changed while programs run.

Each change is made from what was read before it, and is done only when nobody has changed the schedule meanwhile; then it is
read once more. The blocking twin is in `sync_schedules.py`.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from msgspec.structs import replace

from ..brokers.needed import schedules_of
from ..errors import BrokerUnavailable, InvalidOptions, UnknownSchedule
from ..model.codec import Codec
from ..model.delivery import Submission
from ..model.duration import Duration
from ..model.options import check_name
from ..model.schedule import MAX_SCHEDULE_NAME, ScheduleChange, ScheduleRow
from ..scheduling.deciding import KNOWN
from ..scheduling.moments import EPOCH, MICROSECOND, of_epoch, to_utc
from ..scheduling.policies import Policies, policies
from ..scheduling.runs import job_of_run
from ..scheduling.schedule import Definition, Schedule, begin, check_size, pause, redefine, resume, run_id
from ..scheduling.timing import Timing, timing
from .calls import Calls
from .choosing import check_count
from .job import Job, check_job
from .schedule_info import ScheduleInfo, info_of_schedule, schedule_of

PAGE: Final = 500
TRIES: Final = 50  # of a change, while others change the same schedule
BACKFILL_MOST: Final = 10_000  # slots in one call
MOST_UNFINISHED: Final = 2 * KNOWN  # a schedule is paused long before
MOST_NOTE: Final = 1000  # characters
_CHUNK: Final = 500
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")  # which UTF-8 cannot hold

Handle = TypeVar("Handle")  # on a job: `JobHandle`, or its blocking twin


@dataclass(frozen=True, slots=True)
class DeclaredSchedule:
    """A schedule that stands in an app's code."""

    job: Job[Any]
    timing: Timing
    policies: Policies

    def to_definition(self, template: Callable[[Job[Any]], Submission], home: str) -> Definition:
        """Encode it. Raises as `Job.to_template` does."""
        return Definition(template(self.job), self.timing, self.policies, declared=True, home=home)


class Schedules(Generic[Handle]):
    """The schedules of an app's broker: `app.schedules`.

    Args:
        template: Encodes the job of a schedule.
        new_id: Makes the id of a job that somebody runs by hand.
        now: The moment in the world, in epoch seconds, for display.
        codec: The app's.
        handle: Makes a handle on a job from its id and its task.
    """

    def __init__(
        self,
        calls: Callable[[], Calls],
        template: Callable[[Job[Any]], Submission],
        new_id: Callable[[], str],
        now: Callable[[], float],
        codec: Callable[[], Codec],
        handle: Callable[[str, str], Handle],
    ) -> None:
        self._calls = calls
        self._template = template
        self._new_id = new_id
        self._now = now
        self._codec = codec
        self._handle = handle

    async def put(
        self,
        name: str,
        job: Job[Any],
        when: object,
        *,
        jitter: Duration = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        overlap: str = "allow",
        catch_up: str | Duration = "one",
        pause_on_failure: bool = False,
    ) -> ScheduleInfo:
        """Store a schedule, or change one. What has come of it so far stays, and so does a pause. See `App.schedule`.

        Raises:
            InvalidOptions: A value makes no sense.
            PayloadTooLarge: With the arguments of its job it has more than 1 MiB.
            NotSupported: The broker keeps no schedules.
            BrokerUnavailable: The broker did not answer; whether it is stored is unknown, and repeating it is safe.
        """
        check_schedule_name(name)
        check_job("app.schedules.put()", job)
        times = timing(when, jitter=jitter, start=start, end=end, limit=limit)
        definition = Definition(self._template(job), times, policies(overlap, catch_up, pause_on_failure))

        def change(old: Schedule | None, now: datetime) -> Schedule:
            new = begin(definition, now) if old is None else redefine(old, definition, now)
            check_size(name, new)
            return new

        return await self._change(name, change)

    async def list(self) -> builtins.list[ScheduleInfo]:
        """List all schedules by name, with what is known of their last runs."""
        calls = self._calls()
        part, rows = schedules_of(calls.broker), builtins.list[ScheduleRow]()
        while page := await calls(part.list_schedules, PAGE, rows[-1].name if rows else ""):
            rows += page
        return await self._infos(rows)

    async def get(self, name: str) -> ScheduleInfo | None:
        """Return one schedule; None: there is none of this name."""
        row = await self._find(check_schedule_name(name))
        return None if row is None else (await self._infos([row]))[0]

    async def next(self, name: str, count: int = 1) -> builtins.list[datetime]:
        """Return when its next runs are due, at most *count* of them; nothing while it is paused.

        Raises:
            UnknownSchedule: There is none of this name.
        """
        check_count("count", count)
        schedule = await self._known(name)
        times, history = schedule.definition.timing, schedule.history
        slot, found = None if history.paused else history.next_slot, builtins.list[datetime]()
        while slot is not None and len(found) < count:
            found.append(times.due_at(name, slot))
            slot = times.next_after(slot, history.slots_run + len(found))
        return found

    async def pause(self, name: str, note: str = "") -> ScheduleInfo:
        """Run nothing of it until it is resumed; what runs goes on. The note says why, for whoever looks.

        Raises:
            UnknownSchedule: There is none of this name.
        """
        if not isinstance(note, str) or len(note) > MOST_NOTE or _SURROGATE.search(note):
            raise InvalidOptions("note", note, f"a text of at most {MOST_NOTE:,} characters, without lone surrogates")
        return await self._change(name, lambda old, now: pause(_there(name, old), note))

    async def resume(self, name: str) -> ScheduleInfo:
        """Go on with the next slot from now; those of the pause have no runs.

        Raises:
            UnknownSchedule: There is none of this name.
        """
        return await self._change(name, lambda old, now: resume(_there(name, old), now))

    async def remove(self, name: str) -> bool:
        """Delete a schedule. Its jobs go on; one that stands in an app's code comes back with the next worker's start.

        Returns:
            False: there is none of this name.
        """
        check_schedule_name(name)
        calls = self._calls()
        part = schedules_of(calls.broker)
        for _ in range(TRIES):
            row = await self._find(name)
            if row is None:
                return False
            if await calls(part.fire, ScheduleChange(name, row.version)) is not None:
                return True
        raise self._restless(name)

    async def run_now(self, name: str) -> Handle:
        """Submit a run by hand, whatever runs already, and return a handle on its job.

        It waits for the earlier one where runs may not overlap: `overlap` is anything but `allow`. It is none of those that a
        `limit` allows: it was asked for besides.

        Raises:
            UnknownSchedule: There is none of this name.
        """
        ids = builtins.list[str]()

        def change(old: Schedule | None, now: datetime) -> Schedule:
            schedule = _there(name, old)
            history = schedule.history
            ids[:] = [self._new_id()]
            unfinished = (*history.unfinished, *ids)[-MOST_UNFINISHED:]
            counts = {"runs": history.runs + 1, "by_hand": history.by_hand + 1}
            after = replace(history, **counts, last_slot=None, last_job=ids[0], unfinished=unfinished)
            return Schedule(schedule.definition, after)

        def jobs(schedule: Schedule) -> tuple[Submission, ...]:
            return (job_of_run(name, schedule.definition, ids[0], None, self._codec(), self._now()),)

        info = await self._change(name, change, jobs)
        return self._handle(ids[0], info.task)

    async def backfill(self, name: str, since: datetime, until: datetime) -> builtins.list[str]:
        """Submit runs for the slots from *since* to *until*, both included, that have none; returns the ids of the new jobs.

        What was run before and is still known is not run again, so a call that was cut short can be repeated.

        Raises:
            UnknownSchedule: There is none of this name.
            InvalidOptions: A moment has no time zone, or the span has more than 10 000 slots.
        """
        first, last = to_utc("since", since), to_utc("until", until)
        definition = (await self._known(name)).definition
        slots = _slots_between(definition, first, last)
        codec, now, created = self._codec(), self._now(), builtins.list[str]()
        calls = self._calls()
        for begins in range(0, len(slots), _CHUNK):
            chunk = slots[begins : begins + _CHUNK]
            jobs = [job_of_run(name, definition, run_id(name, slot), slot, codec, now) for slot in chunk]
            created += [receipt.id for receipt in await calls(calls.broker.submit, jobs) if receipt.created]
        return created

    async def _change(
        self,
        name: str,
        change: Callable[[Schedule | None, datetime], Schedule],
        jobs: Callable[[Schedule], tuple[Submission, ...]] = lambda schedule: (),
    ) -> ScheduleInfo:
        check_schedule_name(name)
        calls = self._calls()
        part = schedules_of(calls.broker)
        for _ in range(TRIES):
            row = await self._find(name)
            look = await calls(part.look_at_schedules, 0)
            now = of_epoch(look.now)
            new = change(None if row is None else schedule_of(row), now)
            version, when, body = 0 if row is None else row.version, new.next_look(name, now), new.to_body()
            if row is not None and (row.look_at, row.body) == (when, body):  # a write would only be in the way of a worker
                return (await self._infos([row]))[0]
            if await calls(part.fire, ScheduleChange(name, version, when, body, jobs(new))) is not None:
                return (await self._infos([ScheduleRow(name, version, when, body)]))[0]
        raise self._restless(name)

    async def _find(self, name: str) -> ScheduleRow | None:
        calls = self._calls()
        return (await calls(schedules_of(calls.broker).find_schedules, [name]))[0]

    async def _known(self, name: str) -> Schedule:
        row = await self._find(check_schedule_name(name))
        return _there(name, None if row is None else schedule_of(row))

    async def _infos(self, rows: builtins.list[ScheduleRow]) -> builtins.list[ScheduleInfo]:
        calls = self._calls()
        look = await calls(schedules_of(calls.broker).look_at_schedules, 0)
        read = [schedule_of(row) for row in rows]
        last = [one.history.last_job for one in read if one is not None and one.history.last_job is not None]
        stored = dict(zip(last, await calls(calls.broker.outcomes, last), strict=True)) if last else {}
        found = builtins.list[ScheduleInfo]()
        for row, one in zip(rows, read, strict=True):
            outcome = None if one is None or one.history.last_job is None else stored[one.history.last_job]
            found.append(info_of_schedule(row, of_epoch(look.now), None if outcome is None else outcome.state))
        return found

    def _restless(self, name: str) -> BrokerUnavailable:
        return BrokerUnavailable(self._calls().broker.name, f"the schedule {name!r} is changed by others all the time")


def declared_schedule(
    name: object,
    job: Job[Any],
    when: object,
    *,
    jitter: Duration,
    start: datetime | None,
    end: datetime | None,
    limit: int | None,
    overlap: str,
    catch_up: str | Duration,
    pause_on_failure: bool,
) -> DeclaredSchedule:
    """Check what an app declares. Raises `InvalidOptions` as `App.schedule` does."""
    check_schedule_name(name)
    times = timing(when, jitter=jitter, start=start, end=end, limit=limit)
    return DeclaredSchedule(job, times, policies(overlap, catch_up, pause_on_failure))


def check_schedule_name(name: object) -> str:
    """Check the name of a schedule, and return it.

    Raises:
        InvalidOptions: It is none.
    """
    if len(check_name("name", name)) > MAX_SCHEDULE_NAME:
        raise InvalidOptions("name", name, f"at most {MAX_SCHEDULE_NAME} characters: the id of a run has the moment, too")
    return str(name)


def _there(name: str, schedule: Schedule | None) -> Schedule:
    if schedule is None:
        raise UnknownSchedule(name)
    return schedule


def _slots_between(definition: Definition, first: datetime, last: datetime) -> builtins.list[datetime]:
    if last < first:
        raise InvalidOptions("until", last, "a moment after since")
    found = builtins.list[datetime]()
    slot = definition.timing.next_after(max(first, EPOCH) - MICROSECOND)  # slots are counted from there
    while slot is not None and slot <= last:
        if len(found) == BACKFILL_MOST:
            raise InvalidOptions("until", last, f"a span of at most {BACKFILL_MOST:,} slots; the next is at {slot.isoformat()}")
        found.append(slot)
        slot = definition.timing.next_after(slot)
    return found
