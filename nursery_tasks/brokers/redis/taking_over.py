"""What an older version has stored is taken over when a broker is opened. See `lua/taking_over.lua`."""

from __future__ import annotations

from ...errors import BrokerUnavailable
from .checks import unreachable
from .running import Scripts


def take_over(scripts: Scripts) -> None:
    """Move jobs to where this version expects them, some in each step; others may do the same.

    Raises:
        BrokerUnreachable: It does not answer, or what is stored belongs to a newer version.
    """
    try:
        while scripts.run("open"):
            pass
    except BrokerUnavailable as error:
        raise unreachable(error) from None
