"""The end of a pipeline: when its sources have ended, and nothing is under way any more.

Nothing on the wire says "this was the last one". A pipeline has ended when its publishers are done, no stage has a job that
has not ended, nothing waits to leave, and no source holds or shows a message; seen twice, and nothing was taken in between.
Then the collectors flush, which may set it going again.

A source whose channel cannot count is taken for empty when nothing has come for `QUIET_SECONDS`.
"""

from __future__ import annotations

from typing import Final

from anyio import sleep

from ..brokers.needed import admin_of
from ..channels.protocol import Counts
from ..client.connection import ConnectedApp
from ..errors import BrokerError, ChannelError, PublisherFailed
from ..model.states import HELD, WAITING
from .intake import StageIntake
from .serving import Stages

LOOK_SECONDS: Final = 0.2
QUIET_SECONDS: Final = 1.0  # longer than a message is on its way from a server to who has asked for it


class PipelineEnd:
    """Waits for the end of the pipeline that a worker's stages are."""

    def __init__(self, app: ConnectedApp, stages: Stages) -> None:
        self._app = app
        self._stages = stages

    async def wait(self) -> None:
        """Return when it has ended, and the collectors have flushed.

        Raises:
            PublisherFailed: A publisher has failed; what it had sent before has gone through.
        """
        while True:
            await self._wait_quiet()
            try:
                if not [collector for collector in self._stages.collectors if await collector.flush()]:
                    failed = [(each.name, (await each.state()).error) for each in self._stages.publishers]
                    break
            except BrokerError:
                continue
        for name, error in failed:
            if error is not None:
                raise PublisherFailed(name, error)

    async def _wait_quiet(self) -> None:
        quiet, moved = 0.0, -1
        while quiet < QUIET_SECONDS:
            if await self._is_quiet() and moved == self._stages.moved:
                quiet += LOOK_SECONDS
            else:
                quiet, moved = 0.0, self._stages.moved
            await sleep(LOOK_SECONDS)

    async def _is_quiet(self) -> bool:
        try:
            for publisher in self._stages.publishers:
                if not (await publisher.state()).done:
                    return False
            if await self._are_jobs_left() or await self._is_anything_on_its_way():
                return False
            for intake in self._stages.intakes:
                if intake.holding or await _is_message_there(intake):
                    return False
        except (BrokerError, ChannelError):
            return False
        return True

    async def _are_jobs_left(self) -> bool:
        gateway, queues = self._app.connection.gateway, self._stages.queues
        records = await gateway.call(admin_of(gateway.broker).list_queues)
        return any(any(record.counts.get(state) for state in (*WAITING, *HELD)) for record in records if record.name in queues)

    async def _is_anything_on_its_way(self) -> bool:
        destinations = self._stages.destinations
        return any((await self._stages.backlog.counts(destinations)).values())


async def _is_message_there(intake: StageIntake) -> bool:
    if intake.ended or not isinstance(intake.channel, Counts):
        return False
    return bool(await intake.channel.count(intake.stage.source.name))
