"""The fixtures of these tests stand in `tests/support.py`."""

from support import app, faulty, memory_app, url

__all__ = ["app", "faulty", "memory_app", "url"]
