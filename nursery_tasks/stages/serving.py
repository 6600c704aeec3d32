"""The stages of one worker: an intake for each source, the publishers, and the collectors' clocks. One nursery holds them all.

They stand beside the intake of jobs, so they are the first to end when the worker stops: nothing new comes in, what runs ends,
and what was made leaves by the outbox, whose service outlives them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from anyio import create_task_group, sleep

from ..brokers.needed import outbox_of, states_of
from ..brokers.protocol import Broker, Feature
from ..channels.protocol import Channel
from ..client.connection import ConnectedApp
from ..errors import BrokerError
from ..log_throttle import LogThrottle
from ..model.stage import Stage
from ..registry import TaskSpec
from .backlog import Backlog
from .collector import CollectorState
from .intake import StageIntake
from .publisher import PublisherRun

AGAIN_SECONDS = 1.0  # before a collector's clock looks again after an error

_log = logging.getLogger("nursery_tasks.stages")


class Stages:
    """What one worker runs beside its jobs, for the stages of its app.

    Args:
        channels: The channels by name, open.
        queues: Those that the worker serves.
        publishers, collectors: What is declared, by name.
        on_opened: Called when a queue is open again of which no job was to begin.
    """

    def __init__(
        self,
        app: ConnectedApp,
        channels: Mapping[str, Channel],
        queues: Collection[str],
        publishers: Mapping[str, PublisherRun],
        collectors: Mapping[str, CollectorState],
        processed: Callable[[], int],
        on_opened: Callable[[], None],
    ) -> None:
        connection, registry = app.connection, app.registry
        self._specs = [spec for spec in registry.tasks.values() if spec.stage and spec.options.queue in queues]
        self.publishers = list(publishers.values())
        self.collectors = [collectors[spec.name] for spec in self._specs if spec.name in collectors]
        self.backlog = Backlog(connection.gateway, self._specs, processed, on_opened)
        self._check(connection.gateway.broker)
        bounded = Feature.BOUNDS in connection.gateway.broker.features
        self.intakes = [
            StageIntake(
                spec,
                stage,
                channels[stage.source.channel],
                connection,
                self.backlog.wait_open,
                registry.max_length_for(spec) if bounded else 0,
            )
            for spec, stage in _with_stages(self._specs)
            if stage.source.channel
        ]
        self._not_flushed = LogThrottle(_log)

    @property
    def moved(self) -> int:
        """How many messages were taken here."""
        return sum(intake.moved for intake in self.intakes)

    @property
    def queues(self) -> frozenset[str]:
        """The queues in which the stages' jobs wait."""
        return frozenset(spec.options.queue for spec in self._specs)

    @property
    def destinations(self) -> frozenset[str]:
        """Where what is made here goes."""
        places = [place for _, stage in _with_stages(self._specs) for place in stage.reply]
        places += [place for publisher in self.publishers for place in publisher.places]
        places += [place for collector in self.collectors for place in collector.places]
        return frozenset(map(str, places))

    @property
    def closed(self) -> Collection[str]:
        """The queues of which no job is to begin now: what it makes could not leave."""
        return self.backlog.closed

    async def serve(self) -> None:
        """Run them until cancelled. Owns their nursery."""
        async with create_task_group() as stages:
            for intake in self.intakes:
                stages.start_soon(intake.serve, name=f"intake of {intake.spec.name}")
            for publisher in self.publishers:
                stages.start_soon(publisher.serve, self.backlog.counts, name=f"publisher {publisher.name}")
            for collector in self.collectors:
                stages.start_soon(self._keep_time, collector, name=f"clock of {collector.name}")
            stages.start_soon(self.backlog.serve, name="backlog")

    async def _keep_time(self, collector: CollectorState) -> None:
        """Flush a collector when its time is over, whichever worker has begun its window."""
        wait: float | None = 0.0
        while wait is not None:
            await sleep(wait)
            try:
                wait = await collector.flush_in_time()
            except BrokerError as error:
                self._not_flushed.log("cannot flush collector %s in time, and go on trying: %s", collector.name, error)
                wait = AGAIN_SECONDS
            except Exception:  # a total that is no such type any more: its own jobs say so, and the other stages go on
                self._not_flushed.log("cannot flush collector %s in time", collector.name, traceback=True)
                wait = AGAIN_SECONDS

    def _check(self, broker: Broker) -> None:
        """Refuse a broker on which something would be lost.

        Raises:
            NotSupported: It has no outbox, or keeps no states.
        """
        if self.publishers or any(_sends(stage) for _, stage in _with_stages(self._specs)):
            outbox_of(broker)
        if self.publishers or self.collectors:
            states_of(broker)


def _sends(stage: Stage) -> bool:
    return bool(stage.reply) or stage.kind == "collector" or (stage.answers and stage.source.channel != "")


def _with_stages(specs: Sequence[TaskSpec]) -> list[tuple[TaskSpec, Stage]]:
    return [(spec, spec.stage) for spec in specs if spec.stage is not None]
