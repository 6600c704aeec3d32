"""A RabbitMQ node for the measurements: one for all of them, because it takes seconds to start, and a virtual host for each."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from measuring import HERE, Place

from .servers import ServedPlace

sys.path.append(str(HERE.parent / "tests"))
from rabbit_server import RabbitServer  # the tests have nodes of their own, too, and know how to start them


class WholeServer(RabbitServer):
    """A node as it comes, with a scheduler for each core."""

    erl_args = ""


class RabbitPlace(ServedPlace):
    """A place beside a node."""

    def __init__(self, root: Path, server: RabbitServer) -> None:
        super().__init__(root)
        self._server = server

    @contextmanager
    def open_room(self) -> Generator[str, None, None]:
        with self._server.virtual_host() as name:
            yield f"{self._server.url}{name}"

    def version(self) -> str:
        """Say what server it is."""
        found = self._server.api("GET", "overview")["rabbitmq_version"]
        return f"RabbitMQ {found}, with its management plugin, a virtual host for each measurement"


@contextmanager
def open_rabbit(place: Place) -> Generator[RabbitPlace, None, None]:
    """Start a node with its files in *place*."""
    with place.fresh() as folder, WholeServer(folder) as server:
        yield RabbitPlace(folder.parent, server)
