"""Brokers and forks: what one process has opened, no child of it can use."""

from __future__ import annotations

from ...errors import BrokerUnavailable


def opened_before_fork(name: str) -> BrokerUnavailable:
    """Return what a call raises on a broker that was opened by a parent of this process."""
    return BrokerUnavailable(
        name, "it was opened before this process was forked", "open the broker in each process, after the fork"
    )
