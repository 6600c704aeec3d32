"""A link to a broker's server on the event loop: calls go out and answers come in without a thread.

- **Nobody writes half a request.** Sending is a plain call that takes what there is room for; a child sends the rest. So there
  is no `await` in which a cancel could cut a request in two.
- **An answer belongs to its place in the line.** A caller that is gone, however it was cancelled, leaves its call where it is;
  the answer is read, and dropped or given to `unclaimed`. Nobody gets another's.
- **Nothing coming for too long ends the connection**, and all that is in it is unknown then. Before that is said, what has come
  is read: the loop may have been blocked, or the process stopped.
- **A server that closes an idle connection costs no call.** Its end is seen as it comes; after a while without calls, and so
  perhaps of a blocked loop, the connection is looked at before it is used.
- **The wrong server has done nothing.** When it says so, the connection is left after its last answer, and what was refused is
  asked again where the broker's route leads.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, cast

from anyio import CancelScope, Event, create_task_group, sleep, wait_writable
from anyio.lowlevel import checkpoint

from ...errors import BrokerClosed, BrokerError, BrokerUnavailable
from ...loop.direct import loop_clock
from ...loop.readable import serve_readable
from ...loop.threads import Call, Threads
from ..steps import Answer, Steps, Wire

PIPELINED: Final = 64  # calls that wait for their answers on one connection; what comes on top waits here
LOOK_SECONDS: Final = 1.0  # nothing was heard for longer: the connection is looked at before it is used


class _Asked:
    """A call on its way, until it has ended."""

    __slots__ = ("call", "step", "until")

    def __init__(self, call: Call[Any], step: Any) -> None:
        self.call, self.step = call, step
        self.until: float | None = None  # from the first refusal on: when it is not repeated any more


class LoopLink:
    """One connection at a time, opened when a call needs it.

    `_asked` has every call that has not ended. `_waiting` has those of them that are not on the wire, in their order.
    """

    def __init__(self, name: str, steps: Steps, call_seconds: float) -> None:
        self._name = name
        self._steps = steps
        self._answer_seconds = min(steps.answer_seconds, call_seconds)
        self._clock = loop_clock()
        self._asked: dict[Call[Any], _Asked] = {}
        self._waiting: deque[_Asked] = deque()
        self._wanted = Event()  # a call waits, and there is no connection
        self._wire: Wire | None = None  # None: there is none, or it is of no use any more
        self._heard_at = 0.0  # when something came, or when it began to be awaited
        self._is_stuck = Event()  # something is left to send
        self._refused: list[_Asked] = []  # more than once; to be repeated after a pause
        self._is_refused = Event()
        self._carrying: CancelScope | None = None  # around what serves the wire
        self._serving = CancelScope(shield=True)

    # --- what a carrier says, all of it plain calls --------------------------------------------------------------------------

    def start(self, call: Call[Any], step: Any) -> None:
        """Send a call, or keep it until it can be sent."""
        asked = self._asked[call] = _Asked(call, step)
        self._look_after_a_pause()
        self._waiting.append(asked)
        self._resume()

    def has(self, call: Call[Any]) -> bool:
        """Say whether a call is on its way here."""
        return call in self._asked

    def give_up(self, call: Call[Any]) -> bool:
        """Wait no longer for a call. See `Carrier.give_up`."""
        asked = self._asked[call]
        if not call.began and asked in self._waiting:
            self._waiting.remove(asked)
            del self._asked[call]
            return True
        if self._wire is not None:
            self._hear(self._wire)
        if not call.ended:
            call.given_up = True
        return False

    def close(self) -> None:
        """End the service; what is under way fails."""
        self._serving.cancel()

    # --- the service ---------------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Carry calls until `close`; shielded, because calls are. Owns a nursery, and another one for each connection."""
        try:
            with self._serving:
                async with create_task_group() as service:
                    service.start_soon(self._repeat_slowly, name="broker link pauses")
                    while True:
                        await self._wanted.wait()
                        self._wanted = Event()
                        if self._waiting:
                            await self._carry()
        finally:
            for asked in list(self._asked.values()):
                self._end(asked, error=BrokerClosed(self._name))

    async def _carry(self) -> None:
        """Connect, and carry calls until the connection breaks or is left."""
        try:
            wire = await self._connect()
        except Exception as error:  # whoever waits gets it, also what nobody has thought of
            waiting, self._waiting = self._waiting, deque()
            for asked in waiting:
                self._end(asked, error=_once_more(error))
            return
        try:
            async with create_task_group() as carrying:
                self._wire, self._heard_at, self._carrying = wire, self._clock(), carrying.cancel_scope
                carrying.start_soon(self._write, wire, name="broker link writer")
                carrying.start_soon(self._watch, wire, name="broker link watch")
                self._fill()
                await serve_readable(wire, lambda: self._hear(wire))
        finally:
            self._wire = None
            wire.close()
            self._resume()

    async def _connect(self) -> Wire:
        """Connect, in a thread of its own.

        Cancellation:
            The thread is left to its end, which the broker's timeouts bound; what it has opened is closed.
        """
        done, left = Event(), False

        def end(ended: Call[Wire]) -> None:
            done.set()
            if left and ended.error is None:
                ended.answer.close()

        call: Call[Wire] = Call(self._steps.connect, (), end)
        threads = Threads(1)
        threads.start(call)
        try:
            await done.wait()
        except BaseException:
            left = True
            if call.ended:
                end(call)
            raise
        finally:
            threads.close()
        return call.result()

    async def _write(self, wire: Wire) -> None:
        """Send what there was no room for."""
        while True:
            await self._is_stuck.wait()
            self._is_stuck = Event()
            while wire.is_blocked:
                await wait_writable(wire)
                try:
                    wire.send()
                except BrokerError as error:
                    self._break(wire, error)
                self._heard_at = self._clock()  # the server takes what it is sent
            self._fill()

    async def _watch(self, wire: Wire) -> None:
        """End a connection on which nothing comes though something should."""
        while True:
            now = self._clock()
            due_at = (self._heard_at if wire.awaited else now) + self._answer_seconds
            if due_at > now:
                await sleep(due_at - now)
            elif not self._hear(wire):
                if self._wire is wire:
                    self._break(wire, wire.time_out())
                await checkpoint()  # which is cancelled

    async def _repeat_slowly(self) -> None:
        """Ask again what was refused more than once."""
        while True:
            await self._is_refused.wait()
            self._is_refused = Event()
            await sleep(self._steps.pause_seconds)
            self._waiting.extend(self._refused)
            self._refused.clear()
            self._resume()

    # --- on the wire ---------------------------------------------------------------------------------------------------------

    def _send(self, asked: _Asked) -> bool:
        """Send a call; False: not now. One that fails here has ended."""
        wire = self._wire
        if wire is None or wire.is_leaving or wire.is_blocked or wire.awaited >= PIPELINED:
            return False
        if not wire.awaited:
            self._heard_at = self._clock()
        asked.call.began = True
        try:
            wire.ask(asked, asked.step)
        except BrokerError as error:
            self._break(wire, error)
        else:
            if wire.is_blocked:
                self._is_stuck.set()
        return True

    def _fill(self) -> None:
        """Send what waits, as far as there is room."""
        while self._waiting and self._send(self._waiting[0]):
            self._waiting.popleft()

    def _resume(self) -> None:
        """Go on with what waits."""
        self._fill()
        if self._waiting and self._wire is None:
            self._wanted.set()

    def _look_after_a_pause(self) -> None:
        wire = self._wire
        if wire is not None and self._clock() - self._heard_at > LOOK_SECONDS and not wire.awaited:
            self._hear(wire)

    def _hear(self, wire: Wire) -> bool:
        """Read what has come, once, and hand it out; False: nothing had."""
        if wire is not self._wire:
            return False
        try:
            answers = wire.receive()
        except BrokerError as error:
            self._break(wire, error)
            return False
        if answers is None:
            return False
        self._heard_at = self._clock()
        for answer in answers:
            self._take(answer)
        if wire.is_blocked:
            self._is_stuck.set()
        if wire.is_leaving and not wire.awaited:
            self._leave()
            return False
        self._fill()
        return True

    def _take(self, answer: Answer) -> None:
        asked = cast("_Asked", answer.key)
        if answer.repeat and self._repeat(asked):
            return
        self._end(asked, answer.value, answer.error)

    def _repeat(self, asked: _Asked) -> bool:
        """Ask again: at once after the first refusal, then with pauses; False: it has been long enough."""
        now = self._clock()
        if asked.until is None:
            asked.until = now + self._steps.follow_seconds
            self._waiting.append(asked)
        elif now > asked.until:
            return False
        else:
            self._refused.append(asked)
            self._is_refused.set()
        return True

    def _break(self, wire: Wire, error: BrokerError) -> None:
        """Be done with a connection that broke: what is in it is unknown."""
        if wire is not self._wire:
            return
        self._leave()
        for key in wire.unanswered():
            self._end(cast("_Asked", key), error=_once_more(error))

    def _leave(self) -> None:
        """Have nobody use this connection any more, and its children end."""
        self._wire = None
        if self._carrying is not None:
            self._carrying.cancel()

    def _end(self, asked: _Asked, value: Any = None, error: BaseException | None = None) -> None:
        del self._asked[asked.call]
        asked.call.end(value, error)


def _once_more(error: Exception) -> Exception:
    """Return an error of its own for each of several callers, who raise it."""
    return type(error)(error.broker, error.problem, error.step) if isinstance(error, BrokerUnavailable) else error
