"""What a worker does about one schedule: put it, or decide about its slots and submit what they need, in one step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from ..brokers.gateway import Gateway
from ..brokers.needed import schedules_of
from ..errors import BrokerError, InvalidArguments, NotSerializable, PayloadTooLarge
from ..log_throttle import LogThrottle
from ..model.codec import Undecodable
from ..model.delivery import Stored, Submission
from ..model.schedule import ScheduleChange, ScheduleRow
from ..registry import Registry
from ..scheduling.deciding import Step, decide
from ..scheduling.runs import job_of_run
from ..scheduling.schedule import Definition, Schedule, UnreadableSchedule, begin, check_size, read_schedule, redefine, run_id

UNKNOWN_SECONDS: Final = 5.0  # for a worker that knows the task, before others say that nobody does
BROKEN_SECONDS: Final = 30.0  # between two looks at what cannot be run
_CANCEL_REASON: Final = "the next run of its schedule begins"

_log = logging.getLogger("nursery_tasks.worker")


class Firing:
    """Changes schedules through a broker; each change is made from what was read, or not at all.

    Args:
        now: The moment in the world, in epoch seconds, for display.
    """

    def __init__(self, gateway: Gateway, registry: Registry, now: Callable[[], float]) -> None:
        self._gateway = gateway
        self._registry = registry
        self._now = now
        self._unreadable = LogThrottle(_log)

    async def put(self, definitions: Mapping[str, Definition], now: datetime) -> None:
        """Put the schedules of an app's code. What somebody else has changed meanwhile is looked at once more.

        What the broker refuses is left out, with a line in the log: the others go on.
        """
        schedules, wanted = schedules_of(self._gateway.broker), list(definitions)
        while wanted:
            rows = await self._gateway.call(schedules.find_schedules, wanted)
            changes = [self._change_to(name, definitions[name], row, now) for name, row in zip(wanted, rows, strict=True)]
            wanted = await self._change_all([change for change in changes if change is not None])

    async def handle(self, row: ScheduleRow, now: datetime, here_since: datetime) -> bool:
        """Do what is due about one schedule. False: nothing for now, it is left to others.

        Raises:
            BrokerError: The broker did not answer, or takes no jobs. Whether it was done shows at the next look.
        """
        schedule = self._read(row)
        if schedule is None:
            return await self._put_off(row, now)
        problem = self._problem_with(schedule)
        if problem is not None:
            return await self._say_broken(row, schedule, problem, now)
        outcomes = await self._outcomes(schedule.history.unfinished)
        try:
            step = decide(row.name, schedule, now, here_since, outcomes)
            jobs = self._jobs_of(row.name, schedule.definition, step)
        except Exception as error:  # a zone that this machine does not know, a package that it lacks: others go on
            _log.debug("schedule %s", row.name, exc_info=True)
            return await self._say_broken(row, schedule, f"{type(error).__name__}: {error}", now)
        if step.cancelled:  # before the new run: if this worker dies here, the next one to look does it again
            await self._gateway.cancel(step.cancelled, _CANCEL_REASON)
        try:
            after = Schedule(schedule.definition, step.history)
            fired = await self._fire(row.name, row.version, after, after.next_look(row.name, now), jobs)
        except BrokerError as error:
            if not error.refused:
                raise
            return await self._say_broken(row, schedule, str(error), now)
        if fired:
            self._tell(row.name, schedule, step)
        return True

    def _change_to(self, name: str, definition: Definition, row: ScheduleRow | None, now: datetime) -> ScheduleChange | None:
        """Make the change by which a schedule is there as it should be. None: it is."""
        if row is None:
            return _put(name, 0, begin(definition, now), now)
        schedule = self._read(row)
        if schedule is None:  # of a newer version, whose workers look after it
            return None
        due = schedule.look_at(name)
        is_put_off = due is not None and (row.look_at is None or row.look_at > due)
        if schedule.definition == definition and not schedule.history.error and not is_put_off:
            return None
        return _put(name, row.version, redefine(schedule, definition, now), now)

    async def _change_all(self, changes: Sequence[ScheduleChange]) -> list[str]:
        """Change schedules in one call. Returns the names of those that another worker or client has changed meanwhile."""
        if not changes:
            return []
        try:
            done = await self._gateway.call(schedules_of(self._gateway.broker).change_schedules, changes)
        except BrokerError as error:
            if not error.refused:
                raise
            if len(changes) > 1:  # the one that is refused must hold up no other
                return [name for change in changes for name in await self._change_all([change])]
            _log.error("schedule %s cannot be put: %s", changes[0].name, error)
            return []
        return [change.name for change, made in zip(changes, done, strict=True) if not made]

    def _read(self, row: ScheduleRow) -> Schedule | None:
        try:
            return read_schedule(row.body)
        except UnreadableSchedule as error:
            self._unreadable.log("schedule %s is left alone: %s", row.name, error)
            return None

    async def _put_off(self, row: ScheduleRow, now: datetime) -> bool:
        """Leave one that cannot be read to others, and when nobody comes, look again later: it must not stand before others."""
        if not _is_left_over(row, now):
            return False
        later = ScheduleChange(row.name, row.version, _after_a_while(now), row.body)
        await self._gateway.call(schedules_of(self._gateway.broker).fire, later)
        return True

    def _problem_with(self, schedule: Schedule) -> str | None:
        """Say why no run can be made here."""
        job = schedule.definition.job
        spec = self._registry.tasks.get(job.task)
        if spec is None:
            return f"no worker knows the task {job.task!r}"
        try:
            message = self._registry.codec.decode_message(job.payload)
            spec.signature.convert(message.args, message.kwargs, self._registry.codec)
        except (Undecodable, InvalidArguments, NotSerializable) as error:
            return str(error)
        return None

    async def _say_broken(self, row: ScheduleRow, schedule: Schedule, problem: str, now: datetime) -> bool:
        """Store why it cannot be run, and look again later. Another worker may know a task that this one does not."""
        is_unknown = schedule.definition.job.task not in self._registry.tasks
        if is_unknown and not schedule.history.error and not _is_left_over(row, now):
            return False
        history = msgspec.structs.replace(schedule.history, error=problem)
        stored = await self._fire(row.name, row.version, Schedule(schedule.definition, history), _after_a_while(now))
        if stored and schedule.history.error != problem:
            _log.error("schedule %s cannot be run: %s", row.name, problem)
        return True

    async def _outcomes(self, ids: Sequence[str]) -> dict[str, Stored | None]:
        return dict(zip(ids, await self._gateway.outcomes(ids), strict=True)) if ids else {}

    def _jobs_of(self, name: str, definition: Definition, step: Step) -> tuple[Submission, ...]:
        codec, sent_at = self._registry.codec, self._now()
        return tuple(job_of_run(name, definition, run_id(name, slot), slot, codec, sent_at) for slot in step.slots)

    async def _fire(
        self, name: str, version: int, schedule: Schedule, look_at: float | None, jobs: tuple[Submission, ...] = ()
    ) -> bool:
        change = ScheduleChange(name, version, look_at, schedule.to_body(), jobs)
        return await self._gateway.call(schedules_of(self._gateway.broker).fire, change) is not None

    def _tell(self, name: str, before: Schedule, step: Step) -> None:
        if step.history.paused and not before.history.paused:
            _log.warning("schedule %s is paused: %s", name, step.history.note)
        skipped = step.history.skipped - before.history.skipped
        if skipped:
            _log.info("schedule %s: %d of its slots without a run, as an earlier run has not ended", name, skipped)


def _put(name: str, version: int, schedule: Schedule, now: datetime) -> ScheduleChange | None:
    """Make the change that puts a schedule; None: no broker could take it."""
    try:
        check_size(name, schedule)
    except PayloadTooLarge as error:
        _log.error("schedule %s cannot be put: %s", name, error)
        return None
    return ScheduleChange(name, version, schedule.next_look(name, now), schedule.to_body())


def _is_left_over(row: ScheduleRow, now: datetime) -> bool:
    """Say whether the others had their time for it. Nothing is computed: a spec may need a package that is not here."""
    return row.look_at is None or now.timestamp() >= row.look_at + UNKNOWN_SECONDS


def _after_a_while(now: datetime) -> float:
    return (now + timedelta(seconds=BROKEN_SECONDS)).timestamp()
