"""The submitting side: jobs to send, handles to wait on, and the connection that both use."""

from .around import OutgoingJob as OutgoingJob
from .broadcast import Broadcast as Broadcast
from .connection import Connection as Connection
from .following import EventStream as EventStream
from .group import ChildJob as ChildJob
from .group import JobGroup as JobGroup
from .handle import JobHandle as JobHandle
from .hooks import Hook as Hook
from .info import JobInfo as JobInfo
from .info import JobUpdate as JobUpdate
from .job import Job as Job
from .job import PartialJob as PartialJob
from .jobs import Jobs as Jobs
from .jobs import RetryAnswer as RetryAnswer
from .lock_lease import Lock as Lock
from .pauses import Pauses as Pauses
from .queues import Purged as Purged
from .queues import QueueInfo as QueueInfo
from .queues import Queues as Queues
from .watching import JobWatch as JobWatch
