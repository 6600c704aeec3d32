"""What each mistake costs its user: at most three lines that name the next step, and exit code 1 (2 for a wrong usage)."""

from __future__ import annotations

import signal

import pytest
from cli_shell import Ended, Shell

SOURCES = {
    "twice.py": "from nursery_tasks import App\nfirst = App('memory:')\nsecond = App('memory:')\n",
    "without.py": "x = 1\n",
    "single.py": "from nursery_tasks import App\nthe_one = App('memory:')\n",
    "broken_import.py": "import os\nimport not_installed_at_all\n",
    "broken_syntax.py": "x = 1\ndef f(:\n    pass\n",
    "raises.py": "def work():\n    raise RuntimeError('the\\nreason')\nwork()\n",
    "exits.py": "import sys\nsys.exit('enough')\n",
    "bad_option.py": "from nursery_tasks import App\napp = App('memory:', max_payload_bytes=-1)\n",
    "bad_url.py": "from nursery_tasks import App\napp = App('nosuch://host')\n",
    "no_directory.py": "from nursery_tasks import App\napp = App('sqlite:///missing/jobs.db')\n",
    "no_database.py": "from nursery_tasks import App\napp = App('sqlite:///single.py')\n",
    "a_directory.py": "from nursery_tasks import App\napp = App('sqlite:////')\n",
    "no_server.py": "from nursery_tasks import App\napp = App('redis://me:secret@127.0.0.1:1/0')\n",
    "broken_resource.py": (
        "from contextlib import asynccontextmanager\nfrom nursery_tasks import App\napp = App('memory:')\n"
        "@app.lifespan\n@asynccontextmanager\nasync def pool(app):\n    raise OSError('no route')\n    yield\n"
    ),
}


def assert_short(ended: Ended, code: int, *texts: str) -> None:
    assert ended.code == code, ended
    assert 1 <= len(ended.error_lines) <= 3, ended.err
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err
    for text in texts:
        assert text in ended.err


@pytest.mark.parametrize(
    ("place", "texts"),
    [
        ("tasks_her:app", ["there is no module 'tasks_her'", "did you mean tasks_here:app?"]),
        ("qqqqq:app", ["there is no module 'qqqqq'", "the modules here: "]),
        ("tasks_here.inner:app", ["there is no module 'tasks_here.inner'"]),
        ("tasks_here.py:app", ["'tasks_here.py' is a file", "did you mean tasks_here:app?"]),
        ("tasks here", ["'tasks here' is not module:app"]),
        ("tasks_here:ap", ["'tasks_here' has no 'ap'", "did you mean tasks_here:app?"]),
        ("tasks_here:greet", ["tasks_here:greet is an AsyncTask, not an App", "did you mean tasks_here:app?"]),
        ("tasks_here:App", ["tasks_here:App is the class App, not an App"]),
        ("twice", ["twice has several apps", "twice:first, twice:second"]),
        ("without", ["'without' has no 'app'", "write app = App() in without.py"]),
        ("broken_import:app", ["'broken_import' cannot be imported", "'not_installed_at_all'", "broken_import.py:2: import"]),
        ("broken_syntax:app", ["'broken_syntax' cannot be imported: SyntaxError", "broken_syntax.py:2: def f(:"]),
        (
            "raises:app",
            ["'raises' cannot be imported: RuntimeError: the reason", "raises.py:2: raise RuntimeError", "-v shows"],
        ),
        ("exits:app", ["'exits' cannot be imported: SystemExit: enough", "exits.py:2"]),
        ("bad_option:app", ["max_payload_bytes=-1", "bad_option.py:2"]),
        ("bad_url:app", ["broker URL 'nosuch://host'", "names no broker"]),
        ("no_server:app", ["redis://me:***@127.0.0.1:1/0: no connection", "is the server running"]),
        ("no_directory:app", ["missing does not exist", "mkdir -p"]),
        ("no_database:app", ["single.py"]),
        ("a_directory:app", ["is a directory"]),
        ("broken_resource:app", ["OSError: no route", "-v shows the traceback"]),
    ],
)
def test_a_wrong_app_costs_three_lines_and_they_say_what_was_meant(shell: Shell, place: str, texts: list[str]) -> None:
    for name, source in SOURCES.items():
        shell.write(name, source)
    assert_short(shell("run", place), 1, *texts)


def test_the_traceback_comes_with_v_only(shell: Shell) -> None:
    shell.write("raises.py", SOURCES["raises.py"])
    ended = shell("run", "raises:app", "-v")
    assert ended.code == 1
    assert "Traceback (most recent call last)" in ended.err
    assert "error: 'raises' cannot be imported" in ended.err


@pytest.mark.parametrize(
    ("args", "texts"),
    [
        (["run"], ["MODULE:APP", "see nursery-tasks run --help"]),
        (["run", "tasks_here:app", "--slots", "0"], ["--slots"]),
        (["run", "tasks_here:app", "--slots", "many"], ["--slots"]),
        (["run", "tasks_here:app", "--queues", "a:x"], ["--queues='a:x'", "names with weights"]),
        (["run", "tasks_here:app", "--queues", "a b"], ["queues='a b'"]),
        (["run", "tasks_here:app", "--backend", "trio", "--uvloop"], ["--uvloop goes with asyncio, not with trio"]),
        (["run", "tasks_here:app", "--nosuch"], ["--nosuch", "see nursery-tasks run --help"]),
        (["runn"], ["runn", "'run'", "see nursery-tasks --help"]),
        (["call", "add", "--kwargs", "{"], ["--kwargs is no JSON"]),
        (["call", "add", "--kwargs", "[1]"], ["--kwargs is no JSON object"]),
        (["call", "add", "--app", "tasks_here", "--broker", "sqlite:///x.db"], ["--broker and --app both say"]),
        (["call", "greet", "--queue", "no queue"], ["queue='no queue'"]),
        (
            ["call", "tasks_here:app", "greet", "Ada"],
            ["'tasks_here:app' is an app, and a task's name stands here", "nursery-tasks call greet ... --app tasks_here:app"],
        ),
        (["retry"], ["ids, or --all-dead"]),
        (["purge", "default", "--state", "started"], ["jobs that are started belong to a worker"]),
        (["jobs", "--state", "nosuch"], ["nosuch"]),
    ],
)
def test_a_wrong_usage_is_exit_code_2(shell: Shell, args: list[str], texts: list[str]) -> None:
    assert_short(shell(*args), 2, *texts)


@pytest.mark.parametrize(("library", "options"), [("trio", ["--backend", "trio"]), ("uvloop", ["--uvloop"])])
@pytest.mark.parametrize("command", [["run", "tasks_here:app"], ["demo"]])
def test_a_missing_loop_is_named_with_the_command_that_installs_it(
    shell: Shell, command: list[str], library: str, options: list[str]
) -> None:
    ended = shell(*command, *options, before=f"sys.modules[{library!r}] = None")
    assert_short(ended, 1, f"{library} is not installed", f"pip install {library}")


@pytest.mark.parametrize(
    "command", [["jobs"], ["queues"], ["cancel", "1234567"], ["retry", "--all-dead"], ["purge", "x", "--yes"]]
)
def test_looking_makes_no_database(shell: Shell, command: list[str]) -> None:
    assert_short(shell(*command), 1, "there is no database", "jobs.db")
    assert not (shell.directory / "jobs.db").exists()


@pytest.mark.parametrize("command", [["jobs"], ["call", "greet", "Ada"], ["demo"]])
def test_memory_cannot_be_looked_into_from_outside(shell: Shell, command: list[str]) -> None:
    assert_short(shell(*command, "--broker", "memory:"), 1, "memory: live inside one program")


def test_a_task_may_be_called_like_a_place_that_is_no_app(shell: Shell) -> None:
    for name in ("tasks_here:greet", "no_module:app", "mail:send-all"):
        assert shell("call", name, "--no-wait").code == 0


def test_arguments_are_checked_before_they_are_sent_where_the_app_is_known(shell: Shell) -> None:
    assert_short(shell("call", "add", "1", "--app", "tasks_here"), 1, "add: missing a required argument: 'b'")
    assert not (shell.directory / "jobs.db").exists()


def test_a_module_that_blocks_when_it_is_imported_says_where(shell: Shell) -> None:
    shell.write("helper.py", "import time\n\n\ndef wait():\n    time.sleep(1.5)\n")
    shell.write("blocks.py", "from nursery_tasks import App\nimport helper\n\nhelper.wait()\napp = App()\n")
    quick = "from nursery_tasks.cli import loading; loading.IMPORT_SECONDS = 0.5"
    worker = shell.worker(app="blocks:app", before=quick)
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert ended.code == 0
    assert ended.error_lines == [
        "'blocks' is still being imported after 0.5 s; it is here:",
        "    helper.py:5: time.sleep(1.5)",
    ]
