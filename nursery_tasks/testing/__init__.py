"""Help for testing: the lab for jobs, fakes with hooks, the contract suite for brokers. None of it needs pytest."""

from .fakes import FaultyBroker as FaultyBroker
from .fakes import Stall as Stall
from .lab import Lab as Lab
from .lab import lab_backend as lab_backend
from .lab import open_lab as open_lab
from .lab import run_lab as run_lab
