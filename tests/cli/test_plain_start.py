"""A worker of a plain app starts without what it does not need, whose memory it would keep."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nursery_tasks.cli.options import Backend
from nursery_tasks.cli.plain import _NotPlain, read
from nursery_tasks.cli.run import LogLevel, run

NEEDLESS = (
    "aiormq",
    "astral",
    "h11",
    "importlib.metadata",
    "jinja2",
    "multiprocessing",
    "nursery_tasks.cli.commands",
    "nursery_tasks.cli.demo",
    "nursery_tasks.cli.schedules",
    "nursery_tasks.web",
    "pydantic",
    "rich",
    "starlette",
    "trio",
    "uvloop",
    "zipfile",
)
APP = """
import os, signal, sys
from nursery_tasks import App

app = App({url!r})

@app.task
async def tell():
    print(*sys.modules)
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_worker_of_a_plain_app_imports_nothing_needless(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(APP.format(url=f"sqlite:///{tmp_path / 'jobs.db'}"))
    submitting = "import plain; plain.app.sync.enqueue(plain.tell.job())"
    subprocess.run([sys.executable, "-c", submitting], cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run(
        [sys.executable, "-m", "nursery_tasks", "run", "plain:app", "--quiet", "--slots", "4"],
        cwd=tmp_path,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    modules = done.stdout.split()

    assert "nursery_tasks.worker" in modules
    assert [name for name in modules if name.startswith(NEEDLESS)] == []


def test_a_plain_line_is_read_as_the_parser_would_read_it() -> None:
    line = "shop:app -q --slots 4 --drain=2.5 --backend trio --log-level info --queues a:3,b --no-schedules"

    assert read(run, line.split()) == {
        "place": "shop:app",
        "quiet": True,
        "slots": 4,
        "drain": 2.5,
        "backend": Backend.TRIO,
        "log_level": LogLevel.INFO,
        "queues": "a:3,b",
        "no_schedules": True,
    }


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--help",
        "shop:app other:app",
        "shop:app --slots",
        "shop:app --slots 0",
        "shop:app --slots four",
        "shop:app --slots 1 --slots 2",
        "shop:app --slots=-1",
        "shop:app --backend curio",
        "shop:app --quiet=yes",
        "shop:app --verbose",
        "shop:app --slot 4",
        "shop:app --http-host a",
        "shop:app --",
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(line: str) -> None:
    with pytest.raises(_NotPlain):
        read(run, line.split())
