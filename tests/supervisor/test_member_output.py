"""The lines of many become one stream."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from nursery_tasks.supervisor import Output
from nursery_tasks.supervisor.output import LONGEST_BYTES


class Stream:
    """A pipe whose end is an `Output`, read to its end by a thread."""

    def __init__(self) -> None:
        self.source, self.end = os.pipe()
        self.broken = 0
        self.out = Output(self.end, self._count)

    def _count(self) -> None:
        self.broken += 1

    def read(self) -> bytes:
        """Return all that is written until everybody has finished."""
        read: list[bytes] = []
        reader = threading.Thread(target=lambda: read.extend(iter(lambda: os.read(self.source, 65536), b"")))
        reader.start()
        self.out.finish(10)
        os.close(self.end)
        reader.join(10)
        return b"".join(read)


@pytest.fixture
def stream() -> Iterator[Stream]:
    stream = Stream()
    yield stream
    os.close(stream.source)


def test_lines_stay_whole_and_say_whose_they_are(stream: Stream) -> None:
    ends = [stream.out.open_pipe(lambda number=number: f"[{number}] ") for number in range(3)]  # type: ignore[misc]

    def write(end: int, number: int) -> None:
        for line in range(200):
            text = b"%d line %d %s\n" % (number, line, b"x" * (line * 50))
            for part in (text[:7], text[7:]):
                os.write(end, part)
        os.close(end)

    threads = [threading.Thread(target=write, args=(end, number)) for number, end in enumerate(ends)]
    for thread in threads:
        thread.start()
    lines = stream.read().decode().splitlines()
    for thread in threads:
        thread.join()
    for number in range(3):
        own = [line for line in lines if line.startswith(f"[{number}] ")]
        assert [line[4:] for line in own] == [f"{number} line {line} {'x' * (line * 50)}" for line in range(200)]
    assert len(lines) == 600


def test_a_last_line_without_an_end_gets_one(stream: Stream) -> None:
    end = stream.out.open_pipe(lambda: "[1] ")
    os.write(end, b"one\ntwo")
    os.close(end)
    assert stream.read() == b"[1] one\n[1] two\n"


def test_a_line_without_an_end_is_not_kept_for_ever(stream: Stream) -> None:
    end = stream.out.open_pipe(lambda: "")

    def write() -> None:
        for _ in range(2 * LONGEST_BYTES // 65536):
            os.write(end, b"x" * 65536)
        os.close(end)

    thread = threading.Thread(target=write)
    thread.start()
    out = stream.read()
    thread.join()
    assert len(out.splitlines()) == 2
    assert len(out) == 2 * LONGEST_BYTES + 2


def test_ones_own_lines_never_wait(stream: Stream) -> None:
    for _ in range(10_000):  # more than both pipes hold, and nobody reads yet
        stream.out.write("x" * 99 + "\n")
    lines = stream.read().splitlines()
    assert 0 < len(lines) < 10_000
    assert set(lines) == {b"x" * 99}


def test_a_stream_that_nobody_reads_holds_nobody_up() -> None:
    stream = Stream()
    end = stream.out.open_pipe(lambda: "")
    os.close(stream.source)
    for _ in range(100):
        os.write(end, b"x" * 65535 + b"\n")  # more than the pipe holds: it is still being emptied
    os.close(end)
    stream.out.finish(10)
    assert stream.broken == 1
    os.close(stream.end)
