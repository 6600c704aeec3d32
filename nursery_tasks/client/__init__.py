"""The submitting side: jobs to send, handles to wait on, and the connection that both use."""

from .connection import Connection as Connection
from .group import ChildJob as ChildJob
from .group import JobGroup as JobGroup
from .handle import JobHandle as JobHandle
from .job import Job as Job
from .job import PartialJob as PartialJob
from .keeping import Lock as Lock
