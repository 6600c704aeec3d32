"""The supervisor: N places for worker processes, and what they do together."""

from __future__ import annotations

import math
from typing import Any, Final, Protocol

from anyio import CancelScope, Event, create_task_group, current_time

from ..shared_leases import SharedLease
from .link import RECYCLE_CODE
from .member import Command, Member
from .output import Output
from .place import Place

START_TRIES: Final = 3  # of the first member, when it was killed before it worked

OK: Final = 0
LOST: Final = 1  # a member was killed while it stopped, or no member ever worked
INTERRUPTED: Final = 3
UNSTORED: Final = 4
WEDGED: Final = 70
CLEAN: Final = (OK, INTERRUPTED, RECYCLE_CODE)  # who ends like this has given back itself what it held


class Watcher(Protocol):
    """Who is told what happens, on the loop."""

    def reported(self, member: Member, report: dict[str, Any]) -> None:
        """Hear what a member says: `ready` first, with what it says of itself."""
        ...

    def died(self, member: Member, pause_seconds: float) -> None:
        """Hear that a member has ended that nobody has asked to; another one begins after the pause."""
        ...


class Supervisor:
    """N worker processes, from the first start to the last end.

    One member begins alone. When it ends before it works, the others would, too: then its exit code is that of all, and what it
    has written to stderr is the message. From the moment when one has worked on, members are replaced for ever.

    Args:
        command: Makes the command line of a member.
        group: What the members' names begin with.
        streams: For their standard output and standard error.
        clean_up_seconds: What a member may take to end when its drain is over; then it is killed.
        colour: Their output is shown on a terminal.
        labelled: For each stream: whether a member's lines begin with the number of its place.

    Attributes:
        stopping: Set when the members have been told to end.
        interrupted: How many attempts members have cancelled because they stopped.
        not_stored, not_given_back: How many outcomes they could not store, and how many jobs not give back.
        hopeless: The first member, if it has ended before it worked.
    """

    def __init__(
        self,
        command: Command,
        *,
        group: str,
        workers: int,
        watcher: Watcher,
        streams: tuple[Output, Output],
        clean_up_seconds: float,
        colour: bool = False,
        labelled: tuple[bool, bool] = (True, True),
    ) -> None:
        self.stopping = Event()
        self.interrupted = self.not_stored = self.not_given_back = 0
        self._command = command
        self._group = group
        self._watcher = watcher
        self._streams = streams
        self._clean_up_seconds = clean_up_seconds
        self._colour = colour
        self._labelled = labelled
        self._places = [Place(number, f"{group}-{number}", self) for number in range(1, workers + 1)]
        self._worked = Event()  # some member has worked, or never will
        self.hopeless: Member | None = None
        self._tries = 0
        self._codes: set[int] = set()  # of those that ended while we were stopping
        self._deadline = CancelScope()  # when it is over, members are killed
        self._restart = Event()
        self._left: list[SharedLease] = []  # of dead members, for the next one that works

    @property
    def live(self) -> list[Member]:
        """All members that are there now."""
        return [member for place in self._places for member in place.live]

    async def run(self) -> int:
        """Keep the members working until they have been told to end, and have ended; returns the exit code for all.

        Owns two nurseries: what watches, and inside it the places.

        Cancellation:
            All members are killed, and gone when this returns.
        """
        async with create_task_group() as watching:
            watching.start_soon(self._kill_late_ones, name="limit")
            watching.start_soon(self._restart_in_turn, name="restart")
            async with create_task_group() as places:
                first, *others = self._places
                places.start_soon(first.serve, name="place 1")
                await self._worked.wait()
                for place in others:
                    places.start_soon(place.serve, name=f"place {place.number}")
            watching.cancel_scope.cancel()
        return self._code()

    def drain(self, seconds: float) -> None:
        """Tell all members to drain. What is not gone after this time and the clean-up is killed."""
        self._stop(seconds)
        for member in self.live:
            member.drain()

    def cancel(self) -> None:
        """Tell all members to cancel what runs."""
        self._stop(0.0)
        for member in self.live:
            member.cancel()

    def kill(self) -> None:
        """Kill all members."""
        for member in self.live:
            member.kill()

    def restart(self) -> None:
        """Replace all members by fresh ones, one after the other; those that run jobs may end them as in a drain."""
        self._restart.set()

    # --- what places ask and tell ----------------------------------------------------------------------------------------

    def invite(self, name: str, place: int) -> Member:
        """Return a new member."""
        return Member(self._group, name, place, self._hear)

    async def run_member(self, member: Member) -> None:
        """Run a member to its end."""
        pipes = [
            (stream, lambda labelled=labelled: self._prefix(member) if labelled else "")
            for stream, labelled in zip(self._streams, self._labelled, strict=True)
        ]
        await member.run(self._command, pipes, self._colour)
        if member.code not in CLEAN:
            self._left += member.left
            self._hand_on()
        if self.stopping.is_set() and member.code is not None:
            self._codes.add(member.code)

    def died(self, member: Member, pause_seconds: float) -> None:
        """Hear that a member has ended that nobody has asked to."""
        if self._worked.is_set():
            self._watcher.died(member, pause_seconds)
            return
        self._tries += 1
        if self._tries == START_TRIES or (member.code or 0) > 0 or member.problem is not None:
            self.hopeless = member
            self.stopping.set()
            self._worked.set()
            self._watcher.died(member, math.inf)

    def _hear(self, member: Member, report: dict[str, Any]) -> None:
        if report["kind"] == "ready":
            self._worked.set()
            self._places[member.place - 1].on_ready(member)
            self._hand_on()
        elif report["kind"] == "ended" and self.stopping.is_set():
            self.interrupted += report["interrupted"]
            self.not_stored += report["not_stored"]
            self.not_given_back += report["not_given_back"]
        self._watcher.reported(member, report)

    def _hand_on(self) -> None:
        """Have a member that works end the leases of those that are dead."""
        working = [member for member in self.live if member.ready.is_set() and not member.has_ended]
        if self._left and working:
            left, self._left = self._left, []
            working[0].send_leases(left)

    # --- small things ----------------------------------------------------------------------------------------------------

    def _prefix(self, member: Member) -> str:
        """Label a member's lines, but not the error of the first one that cannot begin: it is everybody's."""
        if not self._worked.is_set():
            return ""
        return f"[{member.name.removeprefix(f'{self._group}-')}] "

    def _stop(self, seconds: float) -> None:
        self.stopping.set()
        self._worked.set()  # the other places see that there is nothing to begin
        self._deadline.deadline = min(self._deadline.deadline, current_time() + seconds + self._clean_up_seconds)

    async def _kill_late_ones(self) -> None:
        with self._deadline:
            await Event().wait()
        self._codes.add(WEDGED)
        self.kill()

    async def _restart_in_turn(self) -> None:
        while True:
            await self._restart.wait()
            self._restart = Event()
            for place in self._places:
                await place.replace()

    def _code(self) -> int:
        if self.hopeless is not None:
            return self.hopeless.code if self.hopeless.code is not None and self.hopeless.code > 0 else LOST
        if WEDGED in self._codes:
            return WEDGED
        if any(code < 0 or code == LOST for code in self._codes):
            return LOST
        if self.not_stored or self.not_given_back or UNSTORED in self._codes:
            return UNSTORED
        return INTERRUPTED if self.interrupted or INTERRUPTED in self._codes else OK
