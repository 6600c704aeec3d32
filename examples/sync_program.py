"""Submit and wait without an event loop: a script, a Django or Flask view, a thread.

Start a worker with `nursery-tasks run sync_program:app` in this folder, then run it: python sync_program.py
"""

from nursery_tasks import App
from nursery_tasks.errors import WaitTimedOut

app = App()


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


def view(numbers: list[int]) -> str:
    """Stands for a web framework's view: it blocks, and no loop runs."""
    job = app.sync.enqueue(total.job(numbers))
    try:
        return f"the total is {job.result(timeout=10)}"
    except WaitTimedOut:  # the job goes on; look at it later by its id
        return f"not yet: {app.sync.handle(job.id).status()}"


if __name__ == "__main__":
    print(view([1, 2, 3]))
    jobs = app.sync.enqueue_many([total.job(list(range(n))) for n in range(100)])
    print(f"a hundred more: {sum(job.result(timeout=10) for job in jobs)}")
