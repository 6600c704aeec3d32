"""Computing in processes: progress while it computes, an end when its time is over, and a crash that costs one job.

Run it: python examples/processes.py
"""

import math
import os
import time

import anyio

from nursery_tasks import App, check_cancelled, current_job
from nursery_tasks.errors import HostDied, JobTimedOut

app = App("memory:")


@app.task(run_in="process")
def count_primes(up_to: int) -> int:
    """Hold a GIL, but not the worker's."""
    found = 0
    for number in range(2, up_to):
        if number % 1000 == 0:
            current_job().progress(number / up_to)
            check_cancelled()  # leaves the function when the job is to end
        found += all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
    return found


@app.task(run_in="process", timeout=0.5, kill_after=0.2)
def search() -> None:
    """Never look whether it is to end."""
    while True:
        time.sleep(1)


@app.task(run_in="process")
def crash() -> None:
    os.abort()  # as a bug in a C library would


async def main() -> None:
    async with app, app.open_worker(processes=2):
        print("primes:", await count_primes.run(20_000))
        try:
            await search.run()
        except JobTimedOut:
            print("the search was killed")
        try:
            await crash.run()
        except HostDied as error:
            print(error.signal, "ended one process, and the worker goes on:", await count_primes.run(100))


if __name__ == "__main__":  # processes import this module again: without the guard they would start the program in themselves
    anyio.run(main)
