"""Calling one function: on the loop, in a thread, or here without a broker."""

from .in_loop import call_in_loop as call_in_loop
from .in_thread import call_in_thread as call_in_thread
