"""RabbitMQ without a store: the message is the job."""

from .broker import StorelessBroker as StorelessBroker

__all__ = ["StorelessBroker"]
