"""nursery-tasks: a structured-concurrency task runner on AnyIO, for asyncio and Trio.

Awaited is owned, enqueued is detached.
"""

from ._version import __version__ as __version__
from .app import App as App
from .client import ChildJob as ChildJob
from .client import Job as Job
from .client import JobGroup as JobGroup
from .client import JobHandle as JobHandle
from .client import Lock as Lock
from .client import PartialJob as PartialJob
from .current import CurrentJob as CurrentJob
from .current import check_cancelled as check_cancelled
from .current import current_job as current_job
from .model.delivery import CancelAnswer as CancelAnswer
from .model.limits import Concurrency as Concurrency
from .model.limits import RateLimit as RateLimit
from .model.retry import Backoff as Backoff
from .model.retry import Retry as Retry
from .model.states import JobState as JobState
from .resources import resource as resource
from .shell import CompletedRun as CompletedRun
from .shell import run_process as run_process
from .shell import run_process_sync as run_process_sync
from .task import Task as Task
from .task import Workflow as Workflow
from .taskclass import TaskClass as TaskClass
from .workflows import Flow as Flow
from .workflows import parallel as parallel
from .workflows import parallel_map as parallel_map
from .workflows import sequence as sequence
from .workflows import sleep as sleep
from .workflows import step as step
from .workflows import wait_for_event as wait_for_event

__all__ = [
    "App",
    "Backoff",
    "CancelAnswer",
    "ChildJob",
    "CompletedRun",
    "Concurrency",
    "CurrentJob",
    "Flow",
    "Job",
    "JobGroup",
    "JobHandle",
    "JobState",
    "Lock",
    "PartialJob",
    "RateLimit",
    "Retry",
    "Task",
    "TaskClass",
    "Workflow",
    "__version__",
    "check_cancelled",
    "current_job",
    "parallel",
    "parallel_map",
    "resource",
    "run_process",
    "run_process_sync",
    "sequence",
    "sleep",
    "step",
    "wait_for_event",
]
