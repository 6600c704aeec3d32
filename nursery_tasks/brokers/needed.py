"""A part of a broker for a call that cannot do without it, or the error that says what is missing and what would bring it."""

from __future__ import annotations

from typing import TypeVar

from ..errors import NotSupported
from .parts import Admin, EventLog, Limits, Locks, Outbox, Parking, Pauses, Replies, Schedules, States
from .protocol import Broker
from .server import Postbox, Queues

Part = TypeVar("Part")


def admin_of(broker: Broker) -> Admin:
    """Return what people look at. Raises `NotSupported`, as all here do, when the broker has no such part."""
    return _needed(broker, broker.admin, "listings")


def limits_of(broker: Broker) -> Limits:
    """Return the limits. A broker without would run the jobs as if they had none."""
    return _needed(broker, broker.limits, "limits of jobs")


def locks_of(broker: Broker) -> Locks:
    """Return the locks."""
    return _needed(broker, broker.locks, "locks")


def replies_of(broker: Broker) -> Replies:
    """Return the answers to other programs."""
    return _needed(broker, broker.replies, "replies to other programs")


def outbox_of(broker: Broker) -> Outbox:
    """Return what is to be sent."""
    return _needed(broker, broker.outbox, "messages to other places, sent after the outcome is stored")


def states_of(broker: Broker) -> States:
    """Return the values that are kept under a name."""
    return _needed(broker, broker.states, "values that are kept under a name")


def parking_of(broker: Broker) -> Parking:
    """Return what is parked."""
    return _needed(broker, broker.parking, "parked jobs")


def pauses_of(broker: Broker) -> Pauses:
    """Return what is paused by the names of tasks."""
    return _needed(broker, broker.pauses, "pauses of tasks")


def schedules_of(broker: Broker) -> Schedules:
    """Return the schedules."""
    return _needed(broker, broker.schedules, "schedules")


def event_log_of(broker: Broker) -> EventLog:
    """Return the log of events."""
    return _needed(broker, broker.event_log, "a log of events, which App(event_log=...) asks for")


def queues_of(broker: Broker) -> Queues:
    """Return the queues that are things at a server."""
    return _needed(broker, broker.queues, "queues at a server: here a queue is nothing but its jobs")


def postbox_of(broker: Broker) -> Postbox:
    """Return where messages go as other programs send them."""
    return _needed(broker, broker.postbox, "messages to send")


def _needed(broker: Broker, part: Part | None, what: str) -> Part:
    if part is None:
        raise NotSupported(broker.name, what, broker.step)
    return part
