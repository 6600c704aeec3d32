"""Hypercorn's HTTP/1.1 on AnyIO's sockets: one server for both loops, with limits that hypercorn does not have."""

from .listener import Listener as Listener
from .listener import ServerOptions as ServerOptions
from .listener import open_listener as open_listener
