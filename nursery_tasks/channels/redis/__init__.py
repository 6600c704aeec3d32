"""Lists of a Redis or Valkey server, as other programs push to and pop from them."""

from .channel import RedisChannel as RedisChannel
