"""nursery-tasks: a structured-concurrency task runner on AnyIO, for asyncio and Trio.

Awaited is owned, enqueued is detached.
"""

from typing import TYPE_CHECKING

from ._version import __version__ as __version__
from .app import App as App
from .client import Broadcast as Broadcast
from .client import ChildJob as ChildJob
from .client import EventStream as EventStream
from .client import Hook as Hook
from .client import Job as Job
from .client import JobGroup as JobGroup
from .client import JobHandle as JobHandle
from .client import JobInfo as JobInfo
from .client import Jobs as Jobs
from .client import JobUpdate as JobUpdate
from .client import JobWatch as JobWatch
from .client import Lock as Lock
from .client import OutgoingJob as OutgoingJob
from .client import PartialJob as PartialJob
from .client import Pauses as Pauses
from .client import Purged as Purged
from .client import QueueInfo as QueueInfo
from .client import Queues as Queues
from .client import RetryAnswer as RetryAnswer
from .current import BatchedJob as BatchedJob
from .current import CurrentJob as CurrentJob
from .current import check_cancelled as check_cancelled
from .current import current_job as current_job
from .events import EventKind as EventKind
from .events import JobEvent as JobEvent
from .model.batch import Batch as Batch
from .model.delivery import CancelAnswer as CancelAnswer
from .model.limits import Concurrency as Concurrency
from .model.limits import OrderingKey as OrderingKey
from .model.limits import RateLimit as RateLimit
from .model.pauses import PauseRecord as PauseRecord
from .model.queue import Queue as Queue
from .model.reject import Reject as Reject
from .model.retry import Backoff as Backoff
from .model.retry import Retry as Retry
from .model.states import JobState as JobState
from .model.windows import Debounce as Debounce
from .model.windows import Throttle as Throttle
from .resources import resource as resource
from .task import Task as Task
from .task import Workflow as Workflow
from .taskclass import TaskClass as TaskClass

if TYPE_CHECKING:
    from .builtin_tasks import Builtins as Builtins
    from .client.schedule_info import ScheduleInfo as ScheduleInfo
    from .client.schedule_info import ScheduleState as ScheduleState
    from .client.schedules import Schedules as Schedules
    from .scheduling import any_of as any_of
    from .scheduling import at as at
    from .scheduling import cron as cron
    from .scheduling import every as every
    from .scheduling import sun as sun
    from .shell import CompletedRun as CompletedRun
    from .shell import run_process as run_process
    from .shell import run_process_sync as run_process_sync
    from .workflows import Flow as Flow
    from .workflows import sleep as sleep
    from .workflows import step as step
    from .workflows import wait_for_event as wait_for_event
    from .workflows.parallel import parallel as parallel
    from .workflows.parallel import parallel_map as parallel_map
    from .workflows.sequence import sequence as sequence

__all__ = [
    "App",
    "Backoff",
    "Batch",
    "BatchedJob",
    "Broadcast",
    "Builtins",
    "CancelAnswer",
    "ChildJob",
    "CompletedRun",
    "Concurrency",
    "CurrentJob",
    "Debounce",
    "EventKind",
    "EventStream",
    "Flow",
    "Hook",
    "Job",
    "JobEvent",
    "JobGroup",
    "JobHandle",
    "JobInfo",
    "JobState",
    "JobUpdate",
    "JobWatch",
    "Jobs",
    "Lock",
    "OutgoingJob",
    "PartialJob",
    "PauseRecord",
    "Pauses",
    "Purged",
    "Queue",
    "QueueInfo",
    "Queues",
    "RateLimit",
    "Reject",
    "Retry",
    "RetryAnswer",
    "ScheduleInfo",
    "ScheduleState",
    "Schedules",
    "Task",
    "TaskClass",
    "Throttle",
    "Workflow",
    "__version__",
    "any_of",
    "at",
    "check_cancelled",
    "cron",
    "current_job",
    "every",
    "parallel",
    "parallel_map",
    "resource",
    "run_process",
    "run_process_sync",
    "sequence",
    "sleep",
    "step",
    "sun",
    "wait_for_event",
]

if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name: str) -> object:
        """Load what most programs have none of when it is used."""
        if name == "Builtins":
            from .builtin_tasks import Builtins

            return Builtins
        if name in ("any_of", "at", "cron", "every", "sun"):
            from . import scheduling

            return getattr(scheduling, name)
        if name in ("ScheduleInfo", "ScheduleState", "Schedules"):
            from .client import schedule_info, schedules

            return getattr(schedules if name == "Schedules" else schedule_info, name)
        if name in ("Flow", "parallel", "parallel_map", "sequence", "sleep", "step", "wait_for_event"):
            from . import workflows

            return getattr(workflows, name)
        if name in ("CompletedRun", "run_process", "run_process_sync"):
            from . import shell

            return getattr(shell, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
