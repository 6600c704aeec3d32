"""RabbitMQ with a store beside it: the store has the jobs, and messages say that there is work."""

from .broker import StoredBroker as StoredBroker

__all__ = ["StoredBroker"]
