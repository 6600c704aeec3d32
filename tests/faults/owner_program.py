"""A program that owns jobs and keeps its lease on them until it is killed. Run as `python owner_program.py FILE SECONDS`.

It uses the broker directly, so that nothing but the lease can end its jobs.
"""

from __future__ import annotations

import sys
import time

from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.testing.contract.steps import job

OWNED = ("held", "waiting", "later")
DETACHED = "detached"


def main(path: str, lease_seconds: float) -> None:
    broker, owner = SqliteBroker(path), b"the owner"
    leased = {"owner": owner, "owner_seconds": lease_seconds}
    held, waiting, later = OWNED
    broker.submit([job(held, **leased), job(waiting, **leased), job(later, delay_seconds=3600, **leased), job(DETACHED)])
    print("ready", flush=True)
    while broker.renew_owners([owner], lease_seconds) == [True]:
        print("held", flush=True)
        time.sleep(lease_seconds / 3)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
