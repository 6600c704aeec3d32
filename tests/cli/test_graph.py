"""`nursery-tasks graph`."""

from __future__ import annotations

import pytest
from cli_shell import Shell
from test_mistakes import assert_short

FLOWS = """
from nursery_tasks import parallel, sequence
from tasks_here import add, app, greet

flow = sequence(add.job(1, 2), parallel(str, hex), greet.job(seconds=1.0))
other = parallel(greet, greet)
"""


def test_a_flow_is_drawn_without_a_broker(shell: Shell) -> None:
    shell.write("flows.py", FLOWS)
    ended = shell("graph", "flows:flow")
    assert ended.code == 0
    assert ended.out == (
        "flowchart TD\n"
        '    s1["add(1, 2)"]\n'
        '    subgraph s2["parallel"]\n'
        '        s3(["str"])\n'
        '        s4(["hex"])\n'
        "    end\n"
        '    s5["greet(seconds=1.0)"]\n'
        "    s1 --> s2\n"
        "    s2 --> s5\n"
    )
    assert not (shell.directory / "jobs.db").exists()


@pytest.mark.parametrize(
    ("place", "texts"),
    [
        ("flows", ["'flows' is not module:flow"]),
        ("flows:flo", ["the module 'flows' has no 'flo'", "did you mean flows:flow?"]),
        ("flows:app", ["flows:app is an App, not a flow", "its flows: flow, other"]),
        ("tasks_here:greet", ["tasks_here:greet is an AsyncTask, not a flow", "write flow = sequence(...)"]),
        ("flow:flow", ["there is no module 'flow'", "did you mean flows:app?"]),
    ],
)
def test_what_is_no_flow_is_said(shell: Shell, place: str, texts: list[str]) -> None:
    shell.write("flows.py", FLOWS)
    assert_short(shell("graph", place), 1, *texts)
