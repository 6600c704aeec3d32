"""`run --max-jobs` and `--max-memory`: a worker process is replaced before it becomes a problem."""

from __future__ import annotations

import signal
import sys

import pytest
from cli_shell import Shell, eventually
from crew_shell import Crew, is_gone

from nursery_tasks import JobState

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tests look at processes through /proc")


def test_a_worker_is_replaced_after_so_many_jobs(shell: Shell, loop: list[str]) -> None:
    jobs = shell.app.sync.enqueue_many([shell.app.job("add", number, 1) for number in range(18)])
    crew = Crew(shell, "--max-jobs", "10", *loop, workers=1)
    outcomes = [job.outcome(20) for job in jobs]
    assert {outcome.state for outcome in outcomes} == {JobState.SUCCEEDED}
    workers = [outcome.worker for outcome in outcomes]
    assert {name: workers.count(name) for name in set(workers)} == {"w-1": 10, "w-1.2": 8}
    crew.wait_for("worker-recycling")
    assert crew.wait_for("worker-stopped")["exit_code"] == 75
    eventually(lambda: is_gone(crew.pids["w-1"]))
    crew.send(signal.SIGTERM)
    assert crew.end() == 0
    assert crew.events("supervisor-stopped")[0]["tasks"]["add"]["succeeded"] == 18
    assert crew.events("worker-died") == []


def test_a_worker_is_replaced_above_so_much_memory(shell: Shell) -> None:
    shell.write(
        "hungry.py",
        "from nursery_tasks import App\napp = App('sqlite:///jobs.db')\nkept = []\n"
        "@app.task\nasync def eat(size: int) -> None:\n    kept.append(b'x' * size)\n",
    )
    crew = Crew(shell, "--max-memory", "400MB", workers=1, module="hungry:app").wait_until_all_work()
    first = shell.app.sync.enqueue(shell.app.job("eat", 1)).outcome(10)
    assert first.worker == "w-1"
    shell.app.sync.enqueue(shell.app.job("eat", 500_000_000)).result(10)
    assert "MiB of memory, above" in crew.wait_for("worker-recycling")["text"]
    assert crew.wait_for("worker-started")["worker"] == "w-1.2"
    assert shell.app.sync.enqueue(shell.app.job("eat", 1)).outcome(10).worker == "w-1.2"
    crew.send(signal.SIGTERM)
    assert crew.end() == 0


def test_a_long_job_goes_on_beside_the_fresh_worker(shell: Shell) -> None:
    crew = Crew(shell, "--max-jobs", "2", "--drain", "0", "--backend", "trio", workers=1).wait_until_all_work()
    long = shell.app.sync.enqueue(shell.app.job("meet", 2))
    crew.wait_for("started")
    assert shell.app.sync.enqueue(shell.app.job("add", 1, 2)).outcome(10).worker == "w-1"
    assert shell.app.sync.enqueue(shell.app.job("add", 1, 2)).outcome(10).worker == "w-1.2"
    assert long.status() is JobState.STARTED
    (shell.directory / "met" / "somebody").touch()
    assert long.result(10) == "w-1"
    eventually(lambda: is_gone(crew.pids["w-1"]))
    crew.send(signal.SIGTERM)
    assert crew.end() == 0


def test_no_more_than_two_processes_stand_on_one_place(shell: Shell) -> None:
    crew = Crew(shell, "--max-jobs", "2", "--drain", "0", workers=1).wait_until_all_work()
    long = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 600.0))
    crew.wait_for("started")
    jobs = shell.app.sync.enqueue_many([shell.app.job("add", number, 1) for number in range(4)])
    # The third process begins only when the first one has given its long job back.
    assert [job.result(10) for job in jobs] == [1, 2, 3, 4]
    crew.wait_for("released", job_id=long.id)
    crew.wait_for("worker-started", worker="w-1.3")
    assert is_gone(crew.pids["w-1"])
    crew.send(signal.SIGTERM)
    assert crew.end() == 3


def test_what_no_supervisor_can_replace_ends_with_its_reason(shell: Shell) -> None:
    shell.write(
        "tired.py",
        "from nursery_tasks.worker import Worker\nfrom tasks_here import app\n"
        "run, workers = Worker.run, []\n"
        "def noting(self, **kw):\n    workers.append(self)\n    return run(self, **kw)\n"
        "Worker.run = noting\n"
        "@app.task\nasync def tire() -> None:\n    assert workers[0].recycle('3 slots are lost')\n",
    )
    worker = shell.start("run", "tired:app", "--json")
    worker.wait_for("worker-started")
    shell.app.sync.enqueue(shell.app.job("tire"))
    assert "3 slots are lost" in worker.wait_for("worker-recycling")
    assert worker.end().code == 70
