"""Facts about the file, for a person who looks for what is wrong."""

from __future__ import annotations

from pathlib import Path

import apsw

from .database import Database


def describe_storage(database: Database) -> dict[str, str]:
    """Return versions, modes and sizes."""

    def work(cursor: apsw.Cursor) -> tuple[str, int, int]:
        journal: str = cursor.execute("PRAGMA journal_mode").get
        pages: int = cursor.execute("PRAGMA page_count").get
        free: int = cursor.execute("PRAGMA freelist_count").get
        return journal, pages, free

    journal, pages, free = database.browse(work)
    path = database.path
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
