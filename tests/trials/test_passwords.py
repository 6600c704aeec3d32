"""A broker's password is in no error, no `repr` and no output of a command, however the URL is mistyped."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nursery_tasks import App
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerUnreachable, InvalidBrokerUrl, InvalidOptions
from nursery_tasks.shown import redacted, without_passwords

SECRET = "s3cret"
MISTYPED = [
    f" redis://u:{SECRET}@h",
    f"redis://u:{SECRET}@127.0.0.1:1\n",
    f'"redis://u:{SECRET}@h"',
    f"redis//u:{SECRET}@h:6379/0",
    f"redis:u:{SECRET}@h",
    f"redis:/u:{SECRET}@h",
    f"redis:\\\\u:{SECRET}@h",
    f"u:{SECRET}@h",
    f"{SECRET}@h",
    f"redis://{SECRET}@h",
    f"redis://u:a/{SECRET}@h",
    f"redis://u:a?b={SECRET}@h",
    f"redis://u:a#{SECRET}@h",
    f"redis://u:a[{SECRET}@h",
    f"redis://u:\u2100{SECRET}@h",
    f"redis://u:{SECRET}%40h",
    f"redis://u:{SECRET}@h:port",
    f"redis://h?passwrod={SECRET}",
    f"redis+sentinel://u:{SECRET}@h",
    f"redis+cluster://u:{SECRET}@h:1,other:2:3",
    f"unix://u:{SECRET}@",
    f"sqlite://u:{SECRET}@h/jobs.db",
    f"memory:u:{SECRET}@h",
    f"amqp://u:1/{SECRET}@h",
    f"amqp://u:a]{SECRET}@h",
    f"amqp://u:{SECRET}@h/?colour=red",
    f"amqp://u:{SECRET}@h?store=redis//v:{SECRET}@i",
    f"amqp:///?store=%20redis%3A//v:{SECRET}%40i",
    f"http://u:{SECRET}@h",
]


@pytest.mark.parametrize("url", MISTYPED)
def test_a_mistyped_url_is_shown_without_its_password(url: str) -> None:
    app = App(url)
    assert SECRET not in repr(app)
    assert SECRET not in app.shown_url
    with pytest.raises((InvalidBrokerUrl, BrokerUnreachable)) as caught:
        open_broker(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value)).replace(f"open_broker({url!r})", "")
    assert SECRET not in repr(vars(caught.value))


@pytest.mark.parametrize("url", [f"redis://u:{SECRET}@h".encode(), Path(f"redis://u:{SECRET}@h")])
def test_neither_is_one_of_the_wrong_type(url: Any) -> None:
    with pytest.raises(InvalidOptions) as caught:
        App(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "args",
    [
        ["jobs", "--broker", f" redis://u:{SECRET}@h"],
        ["jobs", "--broker", f"redis//u:{SECRET}@h", "-v"],
        ["doctor", "--broker", f"redis//u:{SECRET}@h"],
        ["doctor", "--json", "--broker", f"redis://u:{SECRET}@127.0.0.1:1"],
        ["call", "add", "1", "--broker", f"amqp://u:1/{SECRET}@h"],
        ["rabbitmq", "users", "--broker", f"redis://u:{SECRET}@h"],
        ["queues", f"redis://u:{SECRET}@h"],
        ["jobs", f"--brokr=redis://u:{SECRET}@h"],
    ],
    ids=lambda args: " ".join(args).replace(SECRET, "x"),
)
def test_no_command_shows_it(args: list[str], tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "nursery_tasks", *args], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert ended.returncode in (1, 2)
    assert "***" in ended.stdout + ended.stderr or "No such option" in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr


_PART = st.text("abz019-_.~/?#[]:@ =&%\\", max_size=12)


@given(st.sampled_from(["redis://", " redis://", "redis//", "redis:/", "redis:", "amqp://", "x+y://", ""]), _PART, _PART, _PART)
def test_what_stands_before_the_last_at_sign_is_hidden_and_stays_so(scheme: str, user: str, before: str, place: str) -> None:
    shown = redacted(f"{scheme}{user.replace('@', '')}:{before}{SECRET}@{place}")
    assert SECRET not in shown
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///jobs.db",
        "sqlite:////srv/a@b:c/jobs.db?synchronous=normal",
        "memory:",
        "redis://host:6379/0?prefix=mine",
        "redis://[::1]:6379/0",
        "redis+sentinel://a:26379,b/main/0",
        "unix:///run/redis@home.sock?db=0",
        "amqp://guest@localhost/%2Fmine",
        "amqps://mq:5671?store=redis://cache:6379/0",
    ],
)
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert redacted(url) == url


def test_passwords_are_hidden_inside_a_sentence() -> None:
    text = f"extra argument (redis://u:{SECRET}@h/0), and amqp://a:{SECRET}@b; mail ada@example.org"
    assert without_passwords(text) == "extra argument (redis://u:***@h/0), and amqp://a:***@b; mail ada@example.org"
