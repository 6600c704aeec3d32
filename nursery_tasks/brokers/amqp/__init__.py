"""The broker on RabbitMQ, with a store beside it."""

from .broker import AmqpBroker as AmqpBroker

__all__ = ["AmqpBroker"]
