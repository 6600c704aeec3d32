"""Jobs from programs that know nothing of nursery-tasks: one INSERT into the SQLite file, from any language.

Run it: python examples/other_languages.py
"""

import sys
import tempfile
from pathlib import Path

import anyio

from nursery_tasks import App

# In a shell: sqlite3 jobs.db "INSERT INTO inbox(queue, body) VALUES ('default', '{\"task\": \"add\", \"args\": [1, 2]}')"
OTHER_PROGRAM = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA wal_autocheckpoint = 0")  # the workers look after the file
with connection:
    connection.execute("INSERT INTO inbox(queue, body) VALUES (?, ?)", ("default", '{"task": "add", "args": [1, 2]}'))
connection.close()
"""


async def main(database: Path) -> None:
    app = App(f"sqlite:///{database}")
    added = anyio.Event()

    @app.task
    async def add(a: int, b: int) -> int:
        print(f"{a} + {b} = {a + b}")
        added.set()
        return a + b

    async with app, app.open_worker():
        # Another process, and that matters: two SQLite libraries in one process break each other's locks.
        await anyio.run_process([sys.executable, "-c", OTHER_PROGRAM, str(database)])
        await added.wait()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(main, Path(folder) / "jobs.db")
