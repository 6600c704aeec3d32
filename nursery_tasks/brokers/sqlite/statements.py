"""One statement for many rows, and one row for many results.

A step of a statement releases the GIL, and to get it back may take 5 ms while another thread computes (`database.py`). So a
batch is written by one statement with a VALUES clause, and read as one row that holds everything.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# apsw's stubs use a type that exists only from Python 3.12 on, so "execute" counts as partially unknown.

from __future__ import annotations

from array import array as Array  # noqa: N812
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import apsw
import msgspec

_SIZES: Final = (1, 4, 16, 64, 256)  # rows per statement; each is compiled once and stays in the statement cache

Row = tuple[Any, ...]


# apsw declares that any column may hold any type, so the three ways to run a statement say what is expected instead.


def execute(cursor: apsw.Cursor, text: str, *values: Any) -> int:
    """Run a statement that returns nothing; return how many rows it changed."""
    cursor.execute(text, values)
    return cursor.connection.changes()


def fetch(cursor: apsw.Cursor, text: str, *values: Any) -> list[Any]:
    """Return all rows."""
    return cursor.execute(text, values).fetchall()


def fetch_value(cursor: apsw.Cursor, text: str, *values: Any) -> Any:
    """Return the one value of the one row; None where there is no row."""
    return cursor.execute(text, values).get


def array(values: Sequence[str] | Sequence[bytes]) -> apsw.CArrayBinding:
    """Bind many texts or blobs, at least one, as one parameter: the table `carray(?)`."""
    return apsw.carray(tuple(values))


def integers(values: Sequence[int]) -> apsw.CArrayBinding:
    """Bind many numbers, at least one, in the same way."""
    return apsw.carray(Array("q", values))


class BatchStatement:
    """A statement that is fed from a VALUES clause, whose first column must not be NULL.

    An UPDATE that finds its jobs by `seq` says NOT INDEXED, which leaves it the primary key. Otherwise SQLite goes through a
    partial index that has the statement's condition, all jobs that anybody holds, once for each row of the batch.

    Args:
        head: The text before the clause, with `?1`, `?2`, ... for what is the same in all rows.
        tail: The text after it; the columns are `column1`, `column2`, ...
        width: How many columns.
        shared: How many parameters *head* and *tail* have.

    Attributes:
        texts: The statement for each number of rows that it is made for.
    """

    def __init__(self, head: str, tail: str, *, width: int, shared: int = 0) -> None:
        self._shared = shared
        self._padding = (None,) * width
        self.texts = {size: f"{head} ({_values(size, width, shared)}) {tail}" for size in _SIZES}

    def run(self, cursor: apsw.Cursor, rows: Sequence[Row], *shared: Any) -> int:
        """Execute it for *rows*; return how many rows of the table were changed."""
        assert len(shared) == self._shared
        changed = 0
        for begin in range(0, len(rows), _SIZES[-1]):
            part = rows[begin : begin + _SIZES[-1]]
            size = next(size for size in _SIZES if size >= len(part))
            padding = self._padding * (size - len(part))
            changed += execute(cursor, self.texts[size], *shared, *chain.from_iterable(part), *padding)
        return changed


def _values(size: int, width: int, first: int) -> str:
    numbers = iter(range(first + 1, first + size * width + 1))
    rows = (f"({','.join(f'?{next(numbers)}' for _ in range(width))})" for _ in range(size))
    return "VALUES " + ",".join(rows)


class PackedQuery:
    """A query whose rows all come in one: the columns as JSON, the blobs glued together.

    Args:
        columns: What can be written as JSON.
        blob: The one column that cannot. Bytes are glued as if they were text, which SQLite does not look into.
        source: From FROM on.
    """

    def __init__(self, columns: Sequence[str], blob: str, source: str) -> None:
        listed = ", ".join(columns)
        record = f"json_array(coalesce(length({blob}), -1), {listed})"
        self.packed = f"SELECT json_group_array({record}), CAST(group_concat(CAST({blob} AS TEXT), '') AS BLOB) {source}"
        self.plain = f"SELECT {listed}, {blob} {source}"

    def fetch(self, cursor: apsw.Cursor, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows: the columns, then the blob."""
        try:
            ((records, blobs),) = fetch(cursor, self.packed, *values)
        except apsw.TooBigError:  # a gigabyte is too much for one row
            return fetch(cursor, self.plain, *values)
        return list(_unpack(records, blobs or b""))


def _unpack(records: str, blobs: bytes) -> Iterator[tuple[Any, ...]]:
    begin = 0
    for length, *columns in _DECODE(records):
        if length < 0:
            yield *columns, None
        else:
            yield *columns, blobs[begin : begin + length]
            begin += length


_DECODE = msgspec.json.Decoder(list[list[Any]]).decode
