"""The lab's broker says when time makes a sweep necessary, and only then."""

from __future__ import annotations

from nursery_tasks.model.delivery import Hint
from nursery_tasks.model.schedule import ScheduleChange
from nursery_tasks.testing.contract import ManualClock
from nursery_tasks.testing.lab_broker import LabBroker


def test_a_schedule_that_is_due_wakes_the_sweeper_once() -> None:
    clock = ManualClock()
    broker = LabBroker(clock)
    broker.sweep(100)
    heard: list[Hint] = []
    broker.listen(["due", "schedule"], heard.append)
    broker.schedules.fire(ScheduleChange("later", 0, clock() + 60, b""))
    broker.schedules.fire(ScheduleChange("soon", 0, clock() + 10, b""))
    broker.schedules.fire(ScheduleChange("never", 0, None, b""))
    assert heard == [
        *(Hint("due"), Hint("schedule", ("later",))),
        *(Hint("due"), Hint("schedule", ("soon",))),
        Hint("schedule", ("never",)),
    ]
    swept = broker.sweep(100)
    assert (swept.next_due_seconds, swept.next_schedule_seconds) == (10, 10)
    clock.advance(10)
    swept = broker.sweep(100)
    assert swept.next_schedule_seconds == 0  # for whoever looks at it; no sweep will make it go away
    assert swept.next_due_seconds == 50
