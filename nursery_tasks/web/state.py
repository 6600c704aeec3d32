"""What all requests of one door share."""

from __future__ import annotations

from anyio import Event

from .. import App
from .settings import DoorSettings


class DoorState:
    """A door, as the handlers see it.

    Attributes:
        app: Whose tasks and jobs these are.
        settings: What the door was made with.
        draining: Set by the door when no more requests are taken; streams end then.
    """

    def __init__(self, app: App, settings: DoorSettings) -> None:
        self.app = app
        self.settings = settings
        self.draining = Event()
