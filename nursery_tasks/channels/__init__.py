"""Channels: doors to the outside that have nothing but messages."""

from .facade import Channels as Channels
from .facade import ChannelState as ChannelState
from .message import ChannelMessage as ChannelMessage
from .message import Item as Item
from .protocol import Channel as Channel
from .protocol import Peeks as Peeks
from .protocol import Received as Received
from .protocol import Source as Source

__all__ = ["Channel", "ChannelMessage", "ChannelState", "Channels", "Item", "Peeks", "Received", "Source"]
