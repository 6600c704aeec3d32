"""Users of the server, and what they may do, are managed from the command line."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from anyio import fail_after, run

from nursery_tasks import App

from .command import command, program
from .conftest import Host

SECONDS = 50.0
WORKER = ("--configure", "^nursery-tasks", "--write", r"^(nursery-tasks|amq\.default)", "--read", "^nursery-tasks")


@pytest.fixture
def ada(host: Host) -> Generator[str, None, None]:
    """The name of a user that nobody else has, and who is gone after the test."""
    name = f"ada-{host.name}"
    yield name
    if any(user["name"] == name for user in host.server.api("GET", "users?columns=name")):
        host.server.api("DELETE", f"users/{name}")


def api_url(host: Host, user: str = "guest:guest") -> str:
    return f"amqp://{user}@127.0.0.1:1/{host.name}?api_port={host.server.api_port}"  # AMQP itself is not needed


def rights_of(host: Host, user: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = host.server.api("GET", f"users/{user}/permissions")
    return found


def test_a_user_is_made_may_work_and_is_deleted(host: Host, ada: str) -> None:
    url = api_url(host)
    made = program(url, "rabbitmq", "add-user", ada, "--tag", "monitoring", "--tag", "management", stdin=b"sec ret\n")
    assert (made.code, made.out) == (0, "")
    assert made.err.startswith(f"user {ada!r} added, who may do nothing yet")
    assert {"name": ada, "tags": ["monitoring", "management"]} in command(url, "rabbitmq", "users", "--json").data
    assert [line.split() for line in command(url, "rabbitmq", "users").out.splitlines() if ada in line] == [
        [ada, "monitoring,", "management"]
    ]
    assert command(url, "rabbitmq", "permissions", ada).err == f"the user {ada!r} may do nothing\n"

    app = App(host.url().replace("guest:guest", f"{ada}:sec%20ret"))

    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    async def work() -> None:
        with fail_after(SECONDS):
            async with app, app.open_worker(queues=["default"]):
                assert await add.run(1, 2) == 3

    assert command(url, "rabbitmq", "set-permissions", ada, *WORKER).err.startswith(
        f"user {ada!r} in virtual host {host.name!r}"
    )
    run(work)
    assert rights_of(host, ada) == [
        {"user": ada, "vhost": host.name, "configure": "^nursery-tasks", "write": WORKER[3], "read": "^nursery-tasks"}
    ]
    assert command(url, "rabbitmq", "permissions", ada, "--json").data == rights_of(host, ada)
    assert ada in command(url, "rabbitmq", "permissions").out
    command(url, "rabbitmq", "set-permissions", ada, "--read", "a", "--vhost", host.name)
    assert [(each["configure"], each["write"], each["read"]) for each in rights_of(host, ada)] == [("^$", "^$", "a")]
    command(url, "rabbitmq", "set-permissions", ada, "--all")
    assert [(each["configure"], each["write"], each["read"]) for each in rights_of(host, ada)] == [(".*", ".*", ".*")]
    assert command(url, "rabbitmq", "clear-permissions", ada).code == 0
    assert rights_of(host, ada) == []
    command(url, "rabbitmq", "clear-permissions", ada).assert_error(f"the user {ada!r} has no permissions in the virtual host")
    command(url, "rabbitmq", "delete-user", ada).assert_error(f"this deletes the user {ada!r}", "say --yes", code=2)
    assert command(url, "rabbitmq", "delete-user", ada, "--yes").err == f"user {ada!r} deleted\n"
    command(url, "rabbitmq", "delete-user", ada, "--yes").assert_error(f"there is no user {ada!r}")


def test_a_password_comes_from_where_nobody_reads_it_and_can_be_changed(host: Host, ada: str) -> None:
    url = api_url(host)
    assert command(url, "rabbitmq", "add-user", ada, "--tag", "administrator", "--password-env", "P", P="first").code == 0
    command(url, "rabbitmq", "add-user", ada, stdin=b"x").assert_error(f"there is a user {ada!r} already", "set-password")
    assert command(url, "rabbitmq", "set-password", ada, stdin=b"second\n").code == 0
    command(api_url(host, f"{ada}:first"), "rabbitmq", "users").assert_error("refuses the user or the password")
    assert command(api_url(host, f"{ada}:second"), "rabbitmq", "users").code == 0  # and it still is an administrator
    command(url, "rabbitmq", "set-password", ada, stdin=b"\n").assert_error("the password is empty", "--password-env", code=2)
    command(url, "rabbitmq", "set-password", ada, "--password-env", "Q").assert_error("variable Q is not set", code=2)
    command(url, "rabbitmq", "set-password", "nobody", stdin=b"x").assert_error("there is no user 'nobody'", "users lists them")
    command(url, "rabbitmq", "add-user", ada, "secret").assert_error("unexpected extra argument", code=2)


def test_what_cannot_be_done_says_why(host: Host, ada: str) -> None:
    url = api_url(host)
    command(url, "rabbitmq", "add-user", ada, "--tag", "management", stdin=b"secret")
    small = api_url(host, f"{ada}:secret")
    for words in (["users"], ["permissions"], ["delete-user", "guest", "--yes"], ["set-permissions", "guest", "--all"]):
        ended = command(small, "rabbitmq", *words)
        ended.assert_error("this user may not do that (Not administrator user)", "needs the tag administrator")
        assert "secret" not in ended.err
    nowhere = url.replace(f"api_port={host.server.api_port}", "api_port=1")
    command(nowhere, "rabbitmq", "users").assert_error("does not answer at 127.0.0.1:1", "rabbitmq-plugins enable", "api_port=")
    other = url.replace(f"api_port={host.server.api_port}", f"api_port={host.server.port}")
    command(other, "rabbitmq", "users").assert_error(f"127.0.0.1:{host.server.port}")
    command(url, "rabbitmq", "permissions", "nobody").assert_error("there is no user 'nobody'")
    command(url, "rabbitmq", "set-permissions", "nobody", "--all").assert_error("there is no user 'nobody'")
    command(url, "rabbitmq", "set-permissions", ada, "--all", "--vhost", "nowhere").assert_error("no virtual host 'nowhere'")
    command(url, "rabbitmq", "set-permissions", ada, "--read", "[").assert_error("the management API refuses that")
    command(url, "rabbitmq", "set-permissions", ada).assert_error("it wants --configure, --write, --read, or --all", code=2)
    command("sqlite:///jobs.db", "rabbitmq", "users").assert_error("only RabbitMQ has", "--broker amqp://")
    command(url, "rabbitmq").assert_error("see nursery-tasks rabbitmq --help", code=2)
