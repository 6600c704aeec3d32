"""Workflows: steps one after the other, side by side, and any nesting of the two."""

from .coordinator import register_flows as register_flows
from .data import Policy as Policy
from .flow import Flow as Flow
from .parallel import parallel as parallel
from .parallel import parallel_map as parallel_map
from .sequence import sequence as sequence
