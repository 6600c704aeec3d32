"""A worker that dies: it claims what there is of the queue `work`, says that it starts one of the jobs, and kills itself.

Run as `python storeless_victim.py URL HOW-MANY NAME`.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from nursery_tasks.brokers.url import open_broker
from nursery_tasks.model.delivery import Delivery, Started


def main(url: str, count: int, name: str) -> None:
    broker = open_broker(url)
    held: list[Delivery] = []
    while len(held) < count:
        held += broker.claim(["work"], count - len(held), "victim", 15.0)
        time.sleep(0.01)
    assert broker.settle([Started(each) for each in held if each.id == name]) == [True]
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
