"""One of the N places for a worker process, which keeps one working there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from anyio import Event, create_task_group, current_time, move_on_after

from .member import Member
from .pauses import Pauses


class House(Protocol):
    """What a place needs to know of the whole."""

    stopping: Event

    def invite(self, name: str, place: int) -> Member:
        """Return a new member."""
        ...

    async def run_member(self, member: Member) -> None:
        """Run a member to its end."""
        ...

    def died(self, member: Member, pause_seconds: float) -> None:
        """Hear that a member has ended that nobody has asked to."""
        ...


class Place:
    """A row of members, one after the other.

    A member that recycles goes on with the jobs that it has while the next one begins. Never more than two are there at once:
    if the second one wants to be replaced as well, the first one has to be gone before.

    Attributes:
        live: The members that are there, oldest first; the last one is the one that works.
    """

    def __init__(self, number: int, name: str, house: House, *, pauses: Callable[[], Pauses] = Pauses) -> None:
        self.number = number
        self.live: list[Member] = []
        self._name = name
        self._house = house
        self._pauses = pauses()
        self._made = 0

    async def serve(self) -> None:
        """Keep a member working here, until the house is stopping and all of them have ended."""
        async with create_task_group() as members:
            while not self._house.stopping.is_set():
                await self._make_room()
                if self._house.stopping.is_set():
                    return
                member = self._next()
                members.start_soon(self._run, member, name=member.name)
                await member.retired.wait()
                if member.ended.is_set():
                    await self._after_death(member)

    async def replace(self) -> None:
        """Have a fresh member take over: it works before the one from before begins to drain."""
        before = self.live[-1] if self.live else None
        if before is None:  # there is a pause, and a fresh one comes anyway
            return
        before.retired.set()
        await before.ended.wait()

    def on_ready(self, member: Member) -> None:
        """Hear that a member works: those before it are not needed any more."""
        for older in self.live[: self.live.index(member)]:
            if older.recycling is None:  # one that recycles drains already, without a limit
                older.drain()

    async def _make_room(self) -> None:
        while len(self.live) > 1:
            self.live[0].drain()
            await self.live[0].ended.wait()

    def _next(self) -> Member:
        """Return a member with a name of its own: jobs that it ran, and its record, are not those of the one before."""
        self._made += 1
        member = self._house.invite(self._name if self._made == 1 else f"{self._name}.{self._made}", self.number)
        self.live.append(member)
        return member

    async def _run(self, member: Member) -> None:
        try:
            await self._house.run_member(member)
        finally:
            self.live.remove(member)
            member.ended.set()
            member.retired.set()

    async def _after_death(self, member: Member) -> None:
        if self._house.stopping.is_set():
            return
        worked = 0.0 if member.ready_at is None else current_time() - member.ready_at
        pause = self._pauses.next(worked)
        self._house.died(member, pause)
        with move_on_after(pause):
            await self._house.stopping.wait()
