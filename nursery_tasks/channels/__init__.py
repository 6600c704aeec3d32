"""Channels: doors to the outside that have nothing but messages."""

from .message import ChannelMessage as ChannelMessage
from .protocol import Channel as Channel
from .protocol import Received as Received
from .protocol import Source as Source

__all__ = ["Channel", "ChannelMessage", "Received", "Source"]
