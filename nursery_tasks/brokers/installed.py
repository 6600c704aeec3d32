"""Brokers from elsewhere. A package that is installed names its broker in the entry point group `nursery_tasks.brokers`:

    [project.entry-points."nursery_tasks.brokers"]
    toy = "toy_broker:open_toy"

The name is the scheme of its URLs, and what it points to is called with a URL and returns the open broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import BrokerUnreachable, NurseryTasksError
from ..forks import imports_late
from ..shown import redacted, without_passwords
from .protocol import Broker

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

GROUP: Final = "nursery_tasks.brokers"
_NOTHING: Final = object()


def installed_schemes() -> list[str]:
    """Return the schemes that packages bring, by name."""
    return sorted(_entry_points().names)


def open_installed(scheme: str, url: str) -> Broker | None:
    """Open the broker of an installed package; None: there is none for this scheme.

    Raises:
        BrokerUnreachable: There is one, and it cannot be imported, cannot be opened, or is none.
    """
    found = {point.value: point for point in _entry_points().select(name=scheme)}  # a path may stand twice in sys.path
    if not found:
        return None
    name = redacted(url)
    if len(found) > 1:
        listed = " and ".join(sorted(map(_told, found.values())))
        raise BrokerUnreachable(name, f"{scheme}: is brought by {listed}", "uninstall all but one of these packages")
    [point] = found.values()
    opener = _load(point, name)
    try:
        broker = opener(url)
    except NurseryTasksError:
        raise
    except (Exception, SystemExit) as error:
        raise BrokerUnreachable(name, f"{_told(point)} has failed: {_what(error)}") from error
    if not isinstance(broker, Broker) or isinstance(broker, type) or _missing(broker):
        problem = f"{_told(point)} returned no broker but {broker!r}{_lacks(broker)}"
        raise BrokerUnreachable(name, problem, f"let the class inherit {Broker.__module__}.Broker")
    return broker


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # late: 3 MiB that a worker with one of our own brokers has no use for

    return entry_points(group=GROUP)


def _load(point: EntryPoint, name: str) -> Any:
    try:
        with imports_late():
            return point.load()
    except (Exception, SystemExit) as error:  # whatever a module raises that is imported, or that it has no such name
        problem = f"{_told(point)} cannot be imported: {_what(error)}"
        raise BrokerUnreachable(name, problem, "install what it needs, or another version of the package") from error


def _told(point: EntryPoint) -> str:
    package = f" of the package {point.dist.name}" if point.dist is not None else ""
    return f"the entry point {point.value}{package}"


def _what(error: BaseException) -> str:
    return f"{type(error).__name__}: {without_passwords(str(error))}"


def _lacks(broker: object) -> str:
    """Say what a thing lacks that has some of a broker's methods."""
    missing = _missing(broker) if hasattr(broker, "submit") else []
    return f", which lacks {', '.join(missing)}" if missing else ""


def _missing(broker: object) -> list[str]:
    """Name what a broker has to have and this one has not. A method that it has from the protocol alone does nothing."""
    members = {**dict.fromkeys(Broker.__annotations__), **vars(Broker)}
    return [name for name, member in members.items() if not name.startswith("_") and not _has(broker, name, member)]


def _has(broker: object, name: str, member: object) -> bool:
    own = getattr(broker, name, _NOTHING)
    return own is not _NOTHING and not (callable(member) and getattr(own, "__func__", own) is member)
