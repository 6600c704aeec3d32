"""huey on SQLite: WAL, every write synced, results stored.

It takes a job out of the queue when it fetches it, so a job whose worker dies is lost: at most once. A client looks for a
result each millisecond, and so does its consumer for jobs.
"""

from __future__ import annotations

import time

from huey import SqliteHuey  # type: ignore[import-untyped]
from parts import URL, Blocking, play, write_moment

huey = SqliteHuey("bench", filename=URL.removeprefix("sqlite:///"), fsync=True, journal_mode="wal", store_none=True)


@huey.task()  # type: ignore[untyped-decorator]
def noop() -> None:
    """Do nothing."""


@huey.task()  # type: ignore[untyped-decorator]
def moment() -> None:
    write_moment()


@huey.task()  # type: ignore[untyped-decorator]
def dies() -> None:
    write_moment()
    time.sleep(60)


TASKS = {"noop": noop, "moment": moment, "dies": dies}


class Huey(Blocking):
    def enqueue(self, task: str) -> None:
        TASKS[task]()

    def enqueue_many(self, count: int) -> None:
        for _ in range(count):  # it has no call for many
            noop()

    def run(self) -> None:
        noop().get(blocking=True, backoff=1.0, max_delay=0.001)


if __name__ == "__main__":
    import side_huey  # again, by the name under which the consumer finds its tasks

    play(side_huey.Huey())
