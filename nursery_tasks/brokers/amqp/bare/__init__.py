"""RabbitMQ without a store: the message is the job."""

from .broker import BareBroker as BareBroker

__all__ = ["BareBroker"]
