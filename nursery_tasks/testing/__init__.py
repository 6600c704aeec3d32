"""Help for testing: the lab for jobs, the contract suite for brokers. None of it needs pytest."""

from .lab import Lab as Lab
from .lab import lab_backend as lab_backend
from .lab import open_lab as open_lab
from .lab import run_lab as run_lab
