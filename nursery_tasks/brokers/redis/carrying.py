"""Which calls an event loop can carry itself: those that are one script, and neither about nothing nor about very much.

It needs hiredis, and is only imported where that is installed; without it all calls take threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ...model.delivery import Delivery, Submission
from ..protocol import Broker
from ..steps import Request, Wire
from .failures import DriverError, to_broker_error
from .link import FOLLOW_SECONDS, PAUSE_SECONDS, Link
from .running import MOST_ITEMS, Makers, Step, some
from .steps import LOOK_UP, JobSteps
from .wire import Packed, RedisWire

LIGHT_BYTES: Final = 256 * 1024  # of payloads; to pack more holds up the loop


class RedisSteps:
    """The calls of `Steps`.

    Args:
        makers: None instead of a step: that call is for a thread.
    """

    def __init__(self, link: Link, makers: Makers) -> None:
        self._link = link
        self._makers = makers
        self.answer_seconds = link.address.timeout_seconds
        self.follow_seconds = FOLLOW_SECONDS
        self.pause_seconds = PAUSE_SECONDS

    def make(self, method: Callable[..., Any], args: tuple[Any, ...]) -> Request | None:
        maker = self._makers.get(method)
        if maker is None:
            return None
        self._link.check_usable()
        step = maker(*args)
        if step is None:
            return None
        # A WAIT holds up what is behind it on its connection, so each kind of promise has one.
        lane = step.script.sha if step.script.promises and self._link.address.replicas else ""
        return Request(Packed(step, self._link.address, self._link.key), lane)

    def connect(self) -> Wire:
        self._link.check_usable()
        route = self._link.address.route
        try:
            connection = route.connect()
            try:
                connection.connect()
            except BaseException:
                route.lost()
                raise
        except DriverError as error:
            raise to_broker_error(self._link.name, error) from error
        return RedisWire(self._link, connection)


def job_makers(broker: Broker, steps: JobSteps) -> Makers:
    """Return what makes the steps of the transitions of jobs."""

    def submit(jobs: Sequence[Submission]) -> Step[Any] | None:
        if not 0 < len(jobs) <= MOST_ITEMS or sum(len(job.payload) for job in jobs) > LIGHT_BYTES:
            return None
        return steps.submit(jobs)

    def claim(queues: Sequence[str], limit: int, *more: Any) -> Step[list[Delivery]] | None:
        return steps.claim(queues, limit, *more) if limit > 0 and queues else None

    return {
        broker.submit: submit,
        broker.claim: claim,
        broker.settle: some(steps.settle),
        broker.renew: some(steps.renew),
        broker.cancel: some(steps.cancel),
        broker.renew_owners: some(steps.renew_owners),
        broker.outcomes: some(steps.outcomes, LOOK_UP),
        broker.sweep: steps.sweep,
    }
