"""A broker that a package brings, found by its entry point: what the command line does with it, and what can be wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerUnreachable, InvalidBrokerUrl

EXAMPLES = Path(__file__).parents[2] / "examples"
Install = Callable[..., Path]
METHODS = ["submit", "claim", "settle", "renew", "cancel", "renew_owners", "outcomes", "sweep", "listen", "close"]

APP = """
import os, signal
from nursery_tasks import App

app = App("toy:")

@app.task
async def greet(name: str) -> None:
    os.write(2, f"hello {name} on {app.connection.gateway.broker.name}\\n".encode())
    os.kill(os.getpid(), signal.SIGINT)

@app.lifespan
async def first_job():
    await greet.enqueue("Ada")
    yield
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package as pip does: its modules, and what it says of itself, in a folder of the path."""

    def install(points: str, name: str = "toy-broker", **modules: str) -> Path:
        for module, text in modules.items():
            (tmp_path / f"{module}.py").write_text(text)
        about = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[nursery_tasks.brokers]\n{points}\n")
        return tmp_path

    monkeypatch.syspath_prepend(tmp_path)
    return install


def problem_of(url: str) -> str:
    with pytest.raises(BrokerUnreachable) as caught:
        open_broker(url)
    return str(caught.value)


def test_its_name_is_the_scheme_of_a_url(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    install("toy = toy_broker:open_toy")
    broker = open_broker("toy:")
    assert broker.name == "toy:"
    assert broker.admin is None
    broker.close()


def test_a_worker_from_the_command_line_runs_on_it(install: Install) -> None:
    here = install("toy = toy_broker:open_toy", tasks_here=APP)
    command = [sys.executable, "-m", "nursery_tasks", "run", "tasks_here:app"]
    path = os.pathsep.join([str(here), str(EXAMPLES)])
    done = subprocess.run(
        command, cwd=here, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=50, check=False
    )
    assert "hello Ada on toy:" in done.stderr
    assert done.returncode == 0, done.stderr


def test_it_is_given_the_whole_url(install: Install) -> None:
    opener = "from nursery_tasks.brokers.memory import MemoryBroker\ndef open_it(url): return MemoryBroker(name=url)\n"
    install("kept = opens_kept:open_it", opens_kept=opener)
    broker = open_broker("kept://host/place?option=1")
    assert isinstance(broker, MemoryBroker)
    assert broker.name == "kept://host/place?option=1"


def test_a_scheme_that_nobody_brings_is_refused_with_those_that_there_are(install: Install) -> None:
    install("toy = toy_broker:open_toy")
    with pytest.raises(InvalidBrokerUrl) as caught:
        open_broker("toys://host")
    assert str(caught.value).startswith("broker URL 'toys://host': toys: names no broker; installed packages bring toy:;")


def test_one_that_cannot_be_imported_says_which_and_why(install: Install) -> None:
    install(
        "lost = not_there:open_it\nbad = opens_bad:open_it\nnameless = opens_bad2:open_it", opens_bad="1 / 0", opens_bad2=""
    )
    told = problem_of("lost://user:secret@host")
    assert "the entry point not_there:open_it of the package toy-broker cannot be imported" in told
    assert "ModuleNotFoundError: No module named 'not_there'" in told
    assert "secret" not in told
    assert "ZeroDivisionError: division by zero" in problem_of("bad:")
    assert "AttributeError" in problem_of("nameless:")


def test_one_that_returns_no_broker_says_what_it_returned(install: Install) -> None:
    half = "class Half:\n    def submit(self, jobs): ...\n    def __repr__(self): return '<Half>'\n"
    install(
        "nothing = opens_it:nothing\nhalf = opens_it:Half_\nbroken = opens_it:broken",
        opens_it=f"{half}\ndef nothing(url): ...\ndef Half_(url): return Half()\ndef broken(url): raise OSError('no ' + url)\n",
    )
    assert "returned no broker but None; let the class inherit nursery_tasks.brokers.protocol.Broker" in problem_of("nothing:")
    told = problem_of("half:")
    assert "returned no broker but <Half>, which lacks " in told
    assert "claim" in told
    assert "submit" not in told.partition("lacks")[2]
    told = problem_of("broken://user:secret@host")
    assert "has failed: OSError: no broken://user:***@host" in told


def test_one_that_inherits_what_it_does_not_have_says_what_it_lacks(install: Install) -> None:
    bare = (
        "from nursery_tasks.brokers.protocol import Broker\nclass Bare(Broker):\n    def __init__(self, url): self.name = url\n"
    )
    install("bare = opens_bare:Bare", opens_bare=f"{bare}    def submit(self, jobs): return []\n")
    lacks = problem_of("bare:").partition(" which lacks ")[2].partition(";")[0].split(", ")
    assert lacks == ["blocking", "features", *METHODS[1:]]


def test_one_that_leaves_the_program_is_refused(install: Install) -> None:
    leaves = "def open_it(url): raise SystemExit(3)"
    install("gone = opens_gone:open_it\nleaves = opens_leaves:open_it", opens_gone="raise SystemExit(3)", opens_leaves=leaves)
    assert "opens_gone:open_it of the package toy-broker cannot be imported: SystemExit: 3" in problem_of("gone:")
    assert "opens_leaves:open_it of the package toy-broker has failed: SystemExit: 3" in problem_of("leaves:")


def test_two_packages_cannot_bring_the_same_scheme(install: Install) -> None:
    install("toy = toy_broker:open_toy")
    install("toy = other_toy:open_toy", name="other-toy")
    told = problem_of("toy:")
    assert (
        "other_toy:open_toy of the package other-toy and the entry point toy_broker:open_toy of the package toy-broker" in told
    )


def test_a_scheme_of_ours_stays_ours(install: Install) -> None:
    install("memory = not_there:open_it")
    assert isinstance(open_broker("memory:"), MemoryBroker)
