"""The HTTP door: one ASGI app over an app's public calls, and the server that carries it.

Nothing of it is imported before a door is made, and then it says what is missing: the extra `web`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Unpack

from ..errors import MissingPackage

if TYPE_CHECKING:
    from .. import App
    from .door import Door
    from .settings import DoorOptions

_NEEDED = ("starlette", "hypercorn")


def make_door(app: App, **options: Unpack[DoorOptions]) -> Door:
    """Make the ASGI app of *app*; see `App.asgi`.

    Raises:
        MissingPackage: The extra `web` is not installed.
        InvalidOptions: An option makes no sense.
    """
    check_installed()
    from .door import Door
    from .settings import check_door_options

    return Door(app, check_door_options(options))


def check_installed() -> None:
    """Check that what the door is made of is installed.

    Raises:
        MissingPackage: It is not.
    """
    for package in _NEEDED:
        if find_spec(package) is None:
            raise MissingPackage("the HTTP door", package, "web")
