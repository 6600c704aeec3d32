"""Handlers in processes: a pool of hosts, each one long `anyio.to_process` call.

pool          CpuHosts: reserves hosts, starts and replaces them
host          one host, as the worker sees it; `process`, `link`, `output` and `rendezvous` are its parts
guard         the process that AnyIO starts: forks the host, and leaves nothing behind
inside        the host itself, with `writing`
frames        what both sides say
"""

from .frames import MAX_BODY as MAX_BODY
from .frames import Work as Work
from .pool import JOBS as JOBS
from .pool import CpuHosts as CpuHosts
from .pool import Place as Place
from .pool import default_limit as default_limit
from .pool import open_hosts as open_hosts
