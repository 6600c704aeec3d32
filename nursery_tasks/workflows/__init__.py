"""Steps one after the other and side by side, and functions that run tasks and survive a crash."""

from .coordinator import register_flows as register_flows
from .data import Policy as Policy
from .durable import make_durable as make_durable
from .flow import Flow as Flow
from .history import RECORDS as RECORDS
from .parallel import parallel as parallel
from .parallel import parallel_map as parallel_map
from .sequence import sequence as sequence
from .steps import Step as Step
from .steps import step as step
from .undo import UNDO_SECONDS as UNDO_SECONDS
from .undo import UNDO_TASK as UNDO_TASK
from .undo import make_undo as make_undo
from .undo import undo_id_of as undo_id_of
from .waits import send_event as send_event
from .waits import sleep as sleep
from .waits import wait_for_event as wait_for_event
