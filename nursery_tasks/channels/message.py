"""Messages are plain data, so their home is the model."""

from __future__ import annotations

from ..model.channel_message import ChannelMessage as ChannelMessage
from ..model.channel_message import Item as Item
