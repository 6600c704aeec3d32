"""The broker on a Redis or Valkey server: for many machines, and fast."""

from .broker import RedisBroker as RedisBroker

__all__ = ["RedisBroker"]
