"""N worker processes as children of one: started afresh, replaced when they end, stopped in stages, never left behind.

    supervisor              `Supervisor.run()`; leaving it means that no process is left
    └─ place 1..n           keeps one worker process working; a fresh one begins before an old one has drained
       └─ member            one process: its pipes, its end

The supervisor knows command lines, not apps: it never imports the user's module, so nothing of the user's can break it.
"""

from .link import CANCEL as CANCEL
from .link import DRAIN as DRAIN
from .link import LOST as LOST
from .link import RECYCLE_CODE as RECYCLE_CODE
from .link import Invitation as Invitation
from .link import Membership as Membership
from .link import read_lost as read_lost
from .member import Member as Member
from .output import Output as Output
from .supervisor import Supervisor as Supervisor
from .supervisor import Watcher as Watcher
