"""`nursery-tasks rabbitmq`: the users of a RabbitMQ server and what they may do, through its management API."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Annotated, Final

import msgspec
import typer

from ..brokers.server import Users
from ..brokers.url import open_users
from ..errors import NotSupported
from ..shown import command_line
from .broker import find_app
from .changing import confirm
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import note, write_json, write_table
from .trouble import OK, USAGE, Trouble

_ALL: Final = ".*"

rabbitmq = typer.Typer(
    help="Users of a RabbitMQ server, and what they may do: through its management API, as the user of the broker's URL.",
    short_help="Users and permissions of a RabbitMQ server.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's name.")]
VhostOption = Annotated[str | None, typer.Option("--vhost", help="The virtual host; default: that of the broker's URL.")]
PasswordOption = Annotated[
    str | None,
    typer.Option("--password-env", metavar="VARIABLE", help="The environment variable that has the password."),
]


def _users(broker: str | None, app: str | None) -> Users:
    """Return the users that are meant. Nothing is opened."""
    try:
        return open_users(find_app(broker, app, create=True).url)
    except NotSupported as error:
        raise Trouble(str(error), "name a server: --broker amqp://user:password@host/vhost") from None


@rabbitmq.command("users")
def users(
    broker: BrokerOption = None, app: AppOption = None, as_json: JsonOption = False, verbose: VerboseOption = False
) -> int:
    """List the users, with their tags."""
    found = _users(broker, app).users()
    if as_json:
        write_json([msgspec.to_builtins(user) for user in found])
    else:
        write_table(["user", "tags"], [[user.name, ", ".join(user.tags)] for user in found])
    return OK


@rabbitmq.command("add-user")
def add_user(
    user: UserArgument,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", help="For the management API: management, monitoring, administrator; can be repeated."),
    ] = None,
    password_env: PasswordOption = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    verbose: VerboseOption = False,
) -> int:
    """Make a user, who may do nothing yet.

    The password is asked for, or read from standard input, or from an environment variable.
    """
    server = _users(broker, app)
    server.add_user(user, _read_password(user, password_env), tag or [])
    note(f"user {user!r} added, who may do nothing yet: {command_line('rabbitmq set-permissions', user)} ...")
    return OK


@rabbitmq.command("set-password")
def set_password(
    user: UserArgument,
    password_env: PasswordOption = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    verbose: VerboseOption = False,
) -> int:
    """Give a user another password.

    It is asked for, or read from standard input, or from an environment variable.
    """
    server = _users(broker, app)
    server.set_password(user, _read_password(user, password_env))
    note(f"user {user!r} has another password; connections that are open stay so")
    return OK


@rabbitmq.command("delete-user")
def delete_user(
    user: UserArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    broker: BrokerOption = None,
    app: AppOption = None,
    verbose: VerboseOption = False,
) -> int:
    """Delete a user, with all that it may do. Its connections are closed."""
    server = _users(broker, app)
    if not yes:
        confirm(f"delete the user {user!r} of {find_app(broker, app, create=True).shown_url}?")
    server.delete_user(user)
    note(f"user {user!r} deleted")
    return OK


@rabbitmq.command("permissions")
def permissions(
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="Only those of this user.")] = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """List what users may do.

    In each virtual host: patterns for the names of queues and exchanges.
    """
    found = _users(broker, app).permissions(user)
    if as_json:
        write_json([msgspec.to_builtins(record) for record in found])
    elif found:
        rows = [[record.user, record.vhost, record.configure, record.write, record.read] for record in found]
        write_table(["user", "virtual host", "configure", "write", "read"], rows)
    else:
        note("nobody may do anything" if user is None else f"the user {user!r} may do nothing")
    return OK


@rabbitmq.command("set-permissions")
def set_permissions(
    user: UserArgument,
    configure: Annotated[str | None, typer.Option(metavar="REGEX", help="What it may declare and delete.")] = None,
    write: Annotated[str | None, typer.Option(metavar="REGEX", help="Where it may publish, and what it may bind.")] = None,
    read: Annotated[str | None, typer.Option(metavar="REGEX", help="What it may consume.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Whatever is not named: everything.")] = False,
    vhost: VhostOption = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    verbose: VerboseOption = False,
) -> int:
    """Set what a user may do.

    In one virtual host; what is not named it may not do, unless --all is given.

    A worker with the names as they come needs --configure '^nursery-tasks' --read '^nursery-tasks', and, where it answers other
    programs, --write '^(nursery-tasks|amq\\.default)'.
    """
    given = (configure, write, read)
    if given == (None, None, None) and not everything:
        step = "to take all of it away: nursery-tasks rabbitmq clear-permissions"
        raise Trouble("it wants --configure, --write, --read, or --all", step, code=USAGE)
    rest = _ALL if everything else "^$"
    rights = [rest if pattern is None else pattern for pattern in given]
    where = _users(broker, app).set_permissions(user, vhost, *rights)
    note(f"user {user!r} in virtual host {where!r}: configure {rights[0]}, write {rights[1]}, read {rights[2]}")
    return OK


@rabbitmq.command("clear-permissions")
def clear_permissions(
    user: UserArgument,
    vhost: VhostOption = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    verbose: VerboseOption = False,
) -> int:
    """Take away what a user may do.

    All of it, in one virtual host.
    """
    where = _users(broker, app).clear_permissions(user, vhost)
    note(f"user {user!r} may do nothing in virtual host {where!r}")
    return OK


def _read_password(user: str, variable: str | None) -> str:
    """Get a password from where no other program sees it: never from the command line."""
    if variable is not None:
        password = os.environ.get(variable, "")
        if not password:
            raise Trouble(f"the environment variable {variable} is not set, or empty", code=USAGE)
    elif sys.stdin.isatty():
        password = getpass.getpass(f"password of {user}: ")
        if password != getpass.getpass("the same again: "):
            raise Trouble("the two passwords are not the same", code=USAGE)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise Trouble("the password is empty", "type it, pipe it in, or name a variable: --password-env VARIABLE", code=USAGE)
    return password
