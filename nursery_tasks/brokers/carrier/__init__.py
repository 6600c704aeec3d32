"""How the calls of a gateway travel: on the event loop where the broker's steps allow it, else in threads."""

from .carrier import Carrier as Carrier
