"""Programs as children of a scope: started with a list of arguments, ended with all that they started."""

from .blocking import run_process_sync as run_process_sync
from .order import CompletedRun as CompletedRun
from .run import run_process as run_process
