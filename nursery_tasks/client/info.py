"""What programs see of a job: what a broker has stored of it, decoded."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..model.codec import Codec, Undecodable, sniff, unpack_outcome
from ..model.failure import Failure
from ..model.listing import JobRecord
from ..model.message import Message
from ..model.outcome import Outcome
from ..model.pauses import PAUSED
from ..model.raw import unwrap_raw
from ..model.states import JobState

_CODEC: Final = Codec()


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of one job. Moments are epoch seconds on the broker's clock.

    Attributes:
        cursor: Its place in the listing: pass it as *after* to get what follows.
        attempts: How many attempts were started and not given back.
        crashes: How many workers died while they ran it.
        due_at: When it may start, or might have.
        started_at: When the current or last attempt was marked as started, or as its outcome has it when that was not done
            because it was over at once; None: it has not begun, as far as is known.
        worker: Who holds it, or held it last.
        waits_for: The name of the limit that it waits for.
        owned: Whether it ends with whoever awaits it.
        unresponsive: Its handler was cancelled and does not end.
        cancel_reason: Set once a cancel was asked for; empty when no reason was given.
        parked: What it waits for: a worker that knows the task of this name; or the end of a pause, see `is_paused`.
        raw: It is no message, but what another program has put into the queue of a `raw` task.
    """

    id: str
    task: str
    queue: str
    state: JobState
    cursor: int
    priority: int = 0
    attempts: int = 0
    crashes: int = 0
    created_at: float = 0.0
    due_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    worker: str | None = None
    waits_for: str | None = None
    key: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()
    owned: bool = False
    unresponsive: bool = False
    cancel_reason: str | None = None
    raw: bool = False
    parked: str | None = None
    _payload: bytes = b""
    _outcome: bytes | None = None
    _progress: bytes | None = None

    @property
    def is_paused(self) -> bool:
        """Whether a worker has put it aside for a pause, see `app.pauses`."""
        return self.parked is not None and self.parked.startswith(PAUSED)

    @property
    def message(self) -> Message | None:
        """What was submitted; None: another program has put something in that is no message."""
        return self._read()[0]

    @property
    def problem(self) -> str | None:
        """Why the message cannot be read."""
        return self._read()[1]

    @property
    def args(self) -> list[Any] | None:
        """Its arguments as plain data; None: what it was submitted with is no message."""
        message = self.message
        return None if message is None else message.args

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """Its keyword arguments, likewise."""
        message = self.message
        return None if message is None else message.kwargs

    @property
    def headers(self) -> dict[str, str]:
        """What came with it, and goes with the jobs that its handler submits."""
        message = self.message
        return {} if message is None else message.headers or {}

    @property
    def body(self) -> bytes:
        """What was submitted, as it came."""
        return unwrap_raw(self._payload)[1] if self.raw else self._payload

    @property
    def progress(self) -> Any:
        """What the handler said last of its progress; None: nothing."""
        return None if self._progress is None else msgspec.json.decode(self._progress)

    @property
    def outcome(self) -> Outcome | None:
        """How it has ended; before that how its last attempt failed, None: in no way."""
        return None if self._outcome is None else unpack_outcome(self._outcome)

    @property
    def result(self) -> Any:
        """Its result as plain data, where it has succeeded; `await app.handle(id, "task")` converts it."""
        outcome = self.outcome
        if outcome is None or self._outcome is None or outcome.state is not JobState.SUCCEEDED:
            return None
        return _CODEC.decode_value(outcome.value, sniff(self._outcome))

    @property
    def error(self) -> Failure | None:
        """The error of its last attempt: `type`, `text`, `traceback` and more."""
        outcome = self.outcome
        return None if outcome is None else outcome.error

    @property
    def reason(self) -> str | None:
        """Why it was cancelled, or is dead."""
        outcome = self.outcome
        return None if outcome is None else outcome.reason

    def _read(self) -> tuple[Message | None, str | None]:
        if self.raw:
            return None, None
        try:
            return _CODEC.decode_message(self._payload), None
        except Undecodable as error:
            return None, str(error)


_SAME: Final = [name for name in JobInfo.__struct_fields__ if not name.startswith("_")]


def info_of(record: JobRecord) -> JobInfo:
    """Make of a broker's record what programs see."""
    same = {name: getattr(record, name) for name in _SAME}
    if record.started_at is None:
        same["started_at"] = _began_at(record)
    return JobInfo(**same, _payload=record.payload, _outcome=record.outcome, _progress=record.progress)


def _began_at(record: JobRecord) -> float | None:
    """Say when a job began that had ended before it could be marked; counted back from its end, since only one clock counts."""
    if record.ended_at is None or record.outcome is None:
        return None
    outcome = unpack_outcome(record.outcome)
    if outcome.started_at is None or outcome.ended_at is None:
        return None
    return record.ended_at - max(0.0, outcome.ended_at - outcome.started_at)


class JobUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job was when somebody looked.

    Attributes:
        progress: What the handler said last; None: nothing, or the broker keeps none.
        attempts: How many attempts were started; 0 also where the broker cannot tell.
        unresponsive: Its handler was cancelled and does not end.
    """

    state: JobState
    progress: Any = None
    attempts: int = 0
    unresponsive: bool = False


def update_of(record: JobRecord) -> JobUpdate:
    """Take out of a record what changes while a job runs."""
    progress = None if record.progress is None else msgspec.json.decode(record.progress)
    return JobUpdate(state=record.state, progress=progress, attempts=record.attempts, unresponsive=record.unresponsive)
