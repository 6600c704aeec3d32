"""The broker in a file: the default, for one machine and any number of processes on it."""

from .broker import SqliteBroker as SqliteBroker

__all__ = ["SqliteBroker"]
