"""Facts about the file, for a person who looks for what is wrong."""

from __future__ import annotations

from pathlib import Path

import apsw

from .database import Database
from .statements import fetch_value


class SqliteFacts:
    """The calls of `Facts`: versions, modes and sizes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> dict[str, str]:
        def work(cursor: apsw.Cursor) -> tuple[str, int, int]:
            names = ("journal_mode", "page_count", "freelist_count")
            journal, pages, free = (fetch_value(cursor, f"PRAGMA {name}") for name in names)
            return journal, pages, free

        journal, pages, free = self._database.browse(work)
        path = self._database.path
        return {
            "SQLite": apsw.sqlite_lib_version(),
            "journal mode": journal,
            "file": _size(path),
            "log": _size(path.with_name(f"{path.name}-wal")),
            "unused": f"{100 * free // max(pages, 1)} %",
        }


def _size(path: Path) -> str:
    try:
        size = path.stat().st_size
    except OSError:
        return "none"
    return f"{size / 1024:,.0f} KiB" if size < 1024 * 1024 else f"{size / 1024 / 1024:,.1f} MiB"
