"""The server's users and what they may do, through the management API. No AMQP connection is opened, and no store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...errors import BrokerRefused
from ...model.listing import PermissionRecord, UserRecord
from .address import Address
from .management import Api, quoted


class _User(msgspec.Struct, frozen=True):
    name: str
    tags: str | list[str] = ""  # a text with commas before 3.9


class AmqpUsers:
    """The users of one server. See `Users`."""

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self._api = Api(address)

    def users(self) -> list[UserRecord]:
        found: Any = self._api.call("GET", "users") or []
        return sorted((_to_user(msgspec.convert(each, _User)) for each in found), key=lambda user: user.name)

    def add_user(self, user: str, password: str, tags: Sequence[str]) -> None:
        if self._api.call("GET", f"users/{quoted(user)}") is not None:
            raise BrokerRefused(self.name, f"there is a user {user!r} already", "set-password gives it another password")
        self._api.call("PUT", f"users/{quoted(user)}", {"password": password, "tags": ",".join(tags)})

    def set_password(self, user: str, password: str) -> None:
        found = self._api.call("GET", f"users/{quoted(user)}")
        if found is None:
            raise self._unknown(user)
        tags = _to_user(msgspec.convert(found, _User)).tags  # or else the call would take them away
        self._api.call("PUT", f"users/{quoted(user)}", {"password": password, "tags": ",".join(tags)})

    def delete_user(self, user: str) -> None:
        self._check_known(user)
        self._api.call("DELETE", f"users/{quoted(user)}")

    def permissions(self, user: str | None) -> list[PermissionRecord]:
        if user is not None:
            self._check_known(user)
        found: Any = self._api.call("GET", "permissions" if user is None else f"users/{quoted(user)}/permissions") or []
        records = [msgspec.convert(each, PermissionRecord) for each in found]
        return sorted(records, key=lambda record: (record.user, record.vhost))

    def set_permissions(self, user: str, vhost: str | None, configure: str, write: str, read: str) -> str:
        where = self._check_vhost(vhost)
        self._check_known(user)
        rights = {"configure": configure, "write": write, "read": read}
        self._api.call("PUT", f"permissions/{quoted(where)}/{quoted(user)}", rights)
        return where

    def clear_permissions(self, user: str, vhost: str | None) -> str:
        where = self._check_vhost(vhost)
        self._check_known(user)
        if self._api.call("GET", f"permissions/{quoted(where)}/{quoted(user)}") is None:
            raise BrokerRefused(self.name, f"the user {user!r} has no permissions in the virtual host {where!r}")
        self._api.call("DELETE", f"permissions/{quoted(where)}/{quoted(user)}")
        return where

    def _check_known(self, user: str) -> None:
        if self._api.call("GET", f"users/{quoted(user)}") is None:
            raise self._unknown(user)

    def _check_vhost(self, vhost: str | None) -> str:
        where = self._api.vhost if vhost is None else vhost
        if self._api.call("GET", f"vhosts/{quoted(where)}") is None:
            raise BrokerRefused(self.name, f"there is no virtual host {where!r}", "rabbitmqctl add_vhost makes one")
        return where

    def _unknown(self, user: str) -> BrokerRefused:
        return BrokerRefused(self.name, f"there is no user {user!r}", "nursery-tasks rabbitmq users lists them")


def _to_user(found: _User) -> UserRecord:
    tags = found.tags.split(",") if isinstance(found.tags, str) else found.tags
    return UserRecord(name=found.name, tags=tuple(tag for tag in tags if tag))
