"""Webhooks: what is sent goes out as signed POST requests."""

from .channel import HttpChannel as HttpChannel
