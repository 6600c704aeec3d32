"""What to start, checked; and what came of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from ..errors import InvalidOptions
from ..model.duration import Duration, to_optional_seconds, to_seconds

CAPTURE_BYTES: Final = 1024 * 1024  # of each stream, unless the caller says otherwise
KILL_AFTER_SECONDS: Final = 2.0

Argument = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class CompletedRun:
    """A program that has ended.

    Attributes:
        command: What was started.
        returncode: 0 for success; below 0, the signal that ended it.
        stdout: What it wrote there. Of more than the limit, the beginning and the end, with a line between that says what
            was cut.
        stderr: Likewise.
        stdout_cut: How many bytes of stdout were cut.
        stderr_cut: How many bytes of stderr were cut.
    """

    command: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes
    stdout_cut: int = 0
    stderr_cut: int = 0

    @property
    def text(self) -> str:
        """What it wrote to stdout, as text; bytes that are no UTF-8 are replaced."""
        return self.stdout.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Order:
    """The arguments of `run_process`, checked; durations in seconds."""

    command: tuple[str, ...]
    stdin: bytes | None
    timeout_seconds: float | None
    cwd: str | None
    env: dict[str, str] | None
    capture_bytes: int
    kill_after_seconds: float


def check_order(
    command: Sequence[Argument],
    stdin: bytes | str | None,
    timeout: Duration | None,
    cwd: Argument | None,
    env: Mapping[str, str] | None,
    capture_bytes: int,
    kill_after: Duration,
) -> Order:
    """Check what a user gave.

    Raises:
        InvalidOptions: A value makes no sense; for a command that is one text, the message shows the list.
    """
    if isinstance(capture_bytes, bool) or not isinstance(capture_bytes, int) or capture_bytes < 0:
        raise InvalidOptions("capture_bytes", capture_bytes, "a number of bytes, 0 or more")
    return Order(
        command=check_command(command),
        stdin=stdin.encode() if isinstance(stdin, str) else stdin,
        timeout_seconds=to_optional_seconds("timeout", timeout),
        cwd=None if cwd is None else os.fspath(cwd),
        env=None if env is None else dict(env),
        capture_bytes=capture_bytes,
        kill_after_seconds=to_seconds("kill_after", kill_after),
    )


def check_command(command: object) -> tuple[str, ...]:
    """Check that it is a list of texts and paths: nothing here is parsed by a shell.

    Raises:
        InvalidOptions: It is something else.
    """
    given = command
    if isinstance(command, str):
        shell = f'["sh", "-c", {command!r}]'
        raise InvalidOptions("command", command, f"a list of arguments: {_split(command)}; for what a shell must read, {shell}")
    if isinstance(command, bytes | Mapping) or not isinstance(command, Sequence) or not command:
        raise InvalidOptions("command", given, 'a list of arguments, the program first: ["ls", "-l"]')
    return tuple(map(_check_argument, cast("Sequence[object]", command)))


def _check_argument(argument: object) -> str:
    if isinstance(argument, str | os.PathLike):
        return os.fspath(cast("Argument", argument))
    raise InvalidOptions("command", argument, f"texts and paths as arguments; write {str(argument)!r}")


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote that does not end
        return command.split()
