"""Tasks that wait for each other from inside of processes; the broker is what the environment says."""

from __future__ import annotations

from nursery_tasks import App, check_cancelled, current_job

app = App()


@app.task(run_in="process")
def dig(depth: int) -> int:
    """Count down, each step in a job of its own."""
    return 1 + app.sync.run(dig.job(depth - 1)) if depth else 0


@app.task(run_in="process")
def hang_below() -> None:
    """Wait for a job that does not end by itself."""
    app.sync.run(hang.job())


@app.task
def hang() -> None:
    """Leave when told to."""
    import time

    current_job().progress("running")
    while True:
        time.sleep(0.005)
        check_cancelled()
