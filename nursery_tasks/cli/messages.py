"""`nursery-tasks peek` and `send`: the messages at a server, as programs see them that know nothing of this package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from .. import App
from ..channels import ChannelMessage
from ..client.data import body_data
from ..errors import NotSupported
from ..model.listing import ServerMessage
from ..model.options import check_name, check_queue
from ..shown import command_line
from .broker import find_app
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import note, plural, write_facts, write_json, write_line
from .trouble import OK, USAGE, Trouble, one_line

_MOST: Final = 1_000  # messages in one look: they are all out of the queue while it takes
_SHOWN: Final = 200  # characters of a body, for people
_OURS: Final = "nursery-tasks.job"

QueueArgument = Annotated[
    str, typer.Argument(help="The queue's name among the jobs, or CHANNEL:PLACE for one of the app's channels.")
]


def peek(
    queue: QueueArgument,
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="How many messages at most.")] = 10,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Show messages that wait at a RabbitMQ server, or in a channel, the next one first, and leave them there.

    While it looks no worker gets them; afterwards they count as redelivered. What a worker has fetched is not shown.
    """
    _check_place(queue)
    messages = run_until_signal(_peek, find_app(broker, app, create=":" in queue), queue, limit)
    if as_json:
        write_json([_data(message) for message in messages])
        return OK
    for number, message in enumerate(messages):
        if number:
            write_line()
        write_facts(_facts(message))
    sys.stdout.flush()
    note(f"{plural(len(messages), 'message')} of queue {queue!r}" if messages else f"no message waits in queue {queue!r}")
    return OK


async def _peek(app: App, queue: str, limit: int) -> list[ServerMessage]:
    async with app:
        try:
            if ":" in queue:
                return [_from_channel(message) for message in await app.channels.peek(queue, limit)]
            return await app.queues.peek(queue, limit)
        except NotSupported as error:
            if ":" in queue:
                raise
            raise Trouble(str(error), f"{command_line('jobs --queue', queue)} shows them") from None


def _check_place(queue: str) -> None:
    if ":" not in queue:
        check_queue("QUEUE", queue)


def _from_channel(message: ChannelMessage) -> ServerMessage:
    return ServerMessage(
        body=message.body,
        id=message.id,
        headers=dict(message.headers),
        content_type=message.content_type,
        reply_to=message.reply_to,
        correlation_id=message.correlation_id,
    )


def _data(message: ServerMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "type": message.type,
        "content_type": message.content_type,
        "reply_to": message.reply_to,
        "correlation_id": message.correlation_id,
        "priority": message.priority,
        "headers": message.headers,
        "redelivered": message.redelivered,
        **body_data(message.body),
    }


def _facts(message: ServerMessage) -> list[tuple[str, str]]:
    data = _data(message)
    text = data.pop("body", None)
    shown = data.pop("body_base64", "") if text is None else text
    what = "a job of this queue is ready" if message.type == _OURS and not message.body else one_line(shown, _SHOWN)
    facts = [(name.replace("_", " "), str(value)) for name, value in data.items() if value not in (None, {}, False)]
    return [*facts, ("body" if text is not None else "body, base64", what)]


def send(
    queue: QueueArgument,
    body: Annotated[str | None, typer.Argument(help="What it says; default: what is on standard input.")] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="PATH", help="What it says, from a file.")] = None,
    message_id: Annotated[str | None, typer.Option("--id", help="Its id, and that of its job; default: a new one.")] = None,
    reply_to: Annotated[str | None, typer.Option("--reply-to", metavar="QUEUE", help="Where its answer goes.")] = None,
    correlation_id: Annotated[str | None, typer.Option("--correlation-id", help="What the answer repeats.")] = None,
    content_type: Annotated[str | None, typer.Option("--content-type", help="What the body is.")] = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Send a message to a queue as another program would: JSON with a task, or anything for the queue's raw task.

    Through RabbitMQ, or into the inbox of Redis or SQLite. Prints the id of its job, which is made when a worker
    gets it; nursery-tasks call submits one at once. CHANNEL:PLACE is a place of one of the app's channels, and what is
    printed then is the id of the message.
    """
    _check_place(queue)
    for option, name in (("--id", message_id), ("--reply-to", reply_to)):
        if name is not None and ":" not in queue:
            check_name(option, name)
    facts = {"id": message_id, "reply_to": reply_to, "correlation_id": correlation_id, "content_type": content_type}
    sent = run_until_signal(_send, find_app(broker, app, create=":" in queue), queue, _read_body(body, file), facts)
    if as_json:
        write_json({"queue": queue, "id": sent})
    else:
        write_line(sent)
    return OK


async def _send(app: App, queue: str, body: bytes, facts: dict[str, Any]) -> str:
    async with app:
        try:
            return await app.channels.send(queue, body, **facts)
        except NotSupported as error:
            raise Trouble(str(error), f"{command_line('call TASK ARGS... --queue', queue)} submits a job") from None


def _read_body(body: str | None, file: Path | None) -> bytes:
    if body is not None and file is not None:
        raise Trouble("BODY and --file both say what to send", "leave one of the two out", code=USAGE)
    if body is not None:
        return body.encode()
    if file is not None:
        try:
            return file.read_bytes()
        except OSError as error:
            raise Trouble(f"--file {file}: {error.strerror}") from None
    if sys.stdin.isatty():
        note("type what to send, and end it with Ctrl-D")
    return sys.stdin.buffer.read()
