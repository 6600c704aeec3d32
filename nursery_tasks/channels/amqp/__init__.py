"""Queues and exchanges of a RabbitMQ server, as other programs publish to and consume from them."""

from .channel import AmqpChannel as AmqpChannel
