"""The broker that lives in this process: the reference for what every broker does, and the home of the lab.

It has no threads and waits for nothing, so the gateway may call it on the event loop and a virtual clock stays exact.
What it holds is gone with the process.
"""

from .broker import MemoryBroker as MemoryBroker

__all__ = ["MemoryBroker"]
