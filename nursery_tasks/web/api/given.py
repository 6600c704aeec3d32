"""What a request says of a job: the shape of our own message, and the options that can be said in JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from ...model.options import check_options

Priority = Annotated[int, msgspec.Meta(ge=0, le=9)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class GivenOptions(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """Options of one job; they are those of `task.options(...)`."""

    queue: str | msgspec.UnsetType = msgspec.UNSET
    priority: Priority | msgspec.UnsetType = msgspec.UNSET
    timeout: Seconds | msgspec.UnsetType | None = msgspec.UNSET
    retry: int | msgspec.UnsetType | None = msgspec.UNSET
    delay: Seconds | msgspec.UnsetType = msgspec.UNSET
    at: Moment | msgspec.UnsetType = msgspec.UNSET
    expires: Seconds | msgspec.UnsetType | None = msgspec.UNSET
    result_ttl: Seconds | msgspec.UnsetType = msgspec.UNSET
    key: Name | msgspec.UnsetType | None = msgspec.UNSET
    id: Name | msgspec.UnsetType = msgspec.UNSET
    tags: list[Name] | msgspec.UnsetType = msgspec.UNSET
    max_crashes: int | msgspec.UnsetType = msgspec.UNSET
    delivery: str | msgspec.UnsetType = msgspec.UNSET


class Given(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One job.

    Attributes:
        task: Its task, where the path does not say it; else the same.
    """

    task: str | None = None
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    options: GivenOptions = GivenOptions()


def to_options(given: GivenOptions) -> dict[str, Any]:
    """Return what was given, checked.

    Raises:
        InvalidOptions: An option has a value that it cannot have.
    """
    options: dict[str, Any] = {
        name: getattr(given, name) for name in given.__struct_fields__ if getattr(given, name) is not msgspec.UNSET
    }
    check_options(options)
    return options
