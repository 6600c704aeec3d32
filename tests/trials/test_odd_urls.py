"""URLs with what comes along when they are copied or read from a file, and with what another program would understand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.brokers.url import open_broker, open_users
from nursery_tasks.errors import BrokerUnreachable, InvalidBrokerUrl

URLS = [
    "memory:",
    "sqlite:///jobs.db",
    "redis://127.0.0.1:1/0",
    "rediss://127.0.0.1:1/0",
    "unix:///no/such.sock",
    "redis+sentinel://127.0.0.1:1/service/0",
    "redis+cluster://127.0.0.1:1",
    "amqp://127.0.0.1:1/",
    "amqps://127.0.0.1:1/",
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("rest", "said"),
    [("\n", "a line break"), ("\r\n", "a line break"), (" ", "a space"), ("\t", "cannot be seen"), ("\xa0", "cannot be seen")],
)
@pytest.mark.parametrize("url", URLS)
def test_what_was_copied_along_is_named(url: str, rest: str, said: str, here: Path) -> None:
    with pytest.raises(InvalidBrokerUrl, match=f"it ends with .*{said}"):
        open_broker(url + rest)
    with pytest.raises(InvalidBrokerUrl, match=f"it begins with .*{said}"):
        open_broker(rest + url)
    assert not list(here.iterdir())


@pytest.mark.parametrize("character", ["\0", "\n", "\x1b", "\x7f", "\x9b", "\u2028"])
@pytest.mark.parametrize("url", URLS)
def test_a_character_that_nobody_sees_is_refused(url: str, character: str, here: Path) -> None:
    scheme, _, rest = url.partition(":")
    with pytest.raises(InvalidBrokerUrl) as refused:
        open_broker(f"{scheme}:{rest[:3]}{character}{rest[3:]}x")
    assert character not in str(refused.value)
    assert not list(here.iterdir())


@pytest.mark.parametrize("character", ["\0", "\n", "\x1b", "\x7f"])
@pytest.mark.parametrize("scheme", ["sqlite", "unix"])
def test_so_it_is_when_it_is_percent_encoded_in_a_path(scheme: str, character: str, here: Path) -> None:
    with pytest.raises(InvalidBrokerUrl, match="its path has"):
        open_broker(f"{scheme}:///{quote(f'jobs{character}.db')}")
    assert not list(here.iterdir())


@pytest.mark.parametrize("rest", ["?synchronous=normal", ""])
def test_a_space_before_the_options_is_refused(rest: str, here: Path) -> None:
    with pytest.raises(InvalidBrokerUrl):
        open_broker(f"sqlite:///jobs.db {rest}")
    assert not list(here.iterdir())


@pytest.mark.parametrize("url", ["sqlite:///my jobs.db", "sqlite:///my%20jobs.db", "sqlite:///jobs%20"])
def test_a_space_that_is_meant_is_a_part_of_the_name(url: str, here: Path) -> None:
    open_broker(url).close()
    assert list(here.glob("*jobs*"))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///:memory:",
        "sqlite:///%3Amemory%3A",
        "sqlite://:memory:",
        "sqlite::memory:",
        "sqlite:///:memory:?synchronous=normal",
        "sqlite:///file::memory:?cache=shared",
        "sqlite:///file:jobs.db",
    ],
)
def test_what_only_sqlite_itself_understands_is_refused_with_our_word_for_it(url: str, here: Path) -> None:
    with pytest.raises(InvalidBrokerUrl, match="memory: is the broker in this process's memory"):
        open_broker(url)
    assert not list(here.iterdir())


def test_the_broker_itself_makes_no_file_of_that_name(here: Path) -> None:
    with pytest.raises(BrokerUnreachable, match="memory: is the broker"):
        SqliteBroker(":memory:")
    assert not list(here.iterdir())


def test_a_store_is_held_to_the_same(here: Path) -> None:
    for store in ("sqlite:///jobs.db\n", "sqlite:///:memory:"):
        with pytest.raises(InvalidBrokerUrl):
            open_broker(f"amqp://127.0.0.1:1/?store={quote(store, safe='')}")
    assert not list(here.iterdir())


def test_so_are_the_users_of_a_server() -> None:
    with pytest.raises(InvalidBrokerUrl, match="it ends with a line break"):
        open_users("amqp://127.0.0.1:1/\n")


def test_the_command_line_says_it_in_three_lines(here: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "nursery_tasks", "jobs", "--broker", "sqlite:///jobs.db\n"], capture_output=True, text=True
    )
    assert told.returncode != 0
    assert "it ends with a line break" in told.stderr
    assert len(told.stderr.splitlines()) <= 3


def test_the_reserve_says_what_it_is(here: Path) -> None:
    broker = open_broker("sqlite:///jobs.db")
    reserve = here / "jobs.db-reserve"
    assert reserve.stat().st_blocks * 512 >= 4 * 1024 * 1024
    text = reserve.read_bytes().rstrip(b"\0").decode()
    assert text.startswith("This file holds nothing but space, for the day when the disk is full.")
    assert "jobs.db beside it" in text
    broker.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("valkey://127.0.0.1:1", "valkey: names no broker; did you mean redis://...?"),
        ("rabbitmq://127.0.0.1:1", "rabbitmq: names no broker; did you mean amqp://...?"),
        ("Redis://127.0.0.1:1", "Redis: names no broker; did you mean redis://...?"),
        ("sqlite3:///jobs.db", "sqlite3: names no broker; did you mean sqlite:///...?"),
        ("sqlite+aiosqlite:///jobs.db", "sqlite+aiosqlite: names no broker; did you mean sqlite:///...?"),
        ("'sqlite:///jobs.db'", "it has no scheme, and a quotation mark is a part of it; take it away;"),
        ("redis:127.0.0.1:1", "the two slashes are missing behind redis:;"),
        ("amqp:user:secret@127.0.0.1:1", "the two slashes are missing behind amqp:;"),
        ("unix:redis.sock", "the two slashes are missing behind unix:;"),
    ],
)
def test_a_slip_in_the_beginning_of_a_url_is_answered_with_what_was_meant(url: str, said: str, here: Path) -> None:
    with pytest.raises(InvalidBrokerUrl) as refused:
        open_broker(url)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)
    assert not list(here.iterdir())
