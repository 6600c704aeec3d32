"""The channel."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from uuid import uuid4

from anyio import aclose_forcefully, fail_after

from ...errors import ChannelRefused, ChannelUnavailable, NotSupported
from ..message import ChannelMessage
from ..protocol import Source
from .request import Answer, NoAnswer, open_stream, post
from .signing import signatures
from .target import read_target

RETRY_MOST_SECONDS: Final = 86_400.0
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")  # a header's name
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_NOT_THEIRS: Final = frozenset(  # headers that this says itself
    {
        *("host", "content-length", "content-type", "connection", "transfer-encoding", "te", "trailer", "upgrade", "expect"),
        *("webhook-id", "webhook-timestamp", "webhook-signature", "authorization"),
    }
)
_LATER: Final = (408, 425, 429)  # what else is 4xx is for good


class HttpChannel:
    """Webhooks: each message is a POST request, signed as Standard Webhooks has it. A place is a path below the URL.

    `webhook-id` is the message's id, or a new one; the receiver drops what comes twice by it. Headers go out as they are, and a
    `correlation_id` and a `reply_to` as `x-correlation-id` and `x-reply-to`. Any 2xx is a confirmation; 5xx, 408, 425, 429 and
    no answer are `ChannelUnavailable`, with what `Retry-After` says; 3xx (no redirect is followed) and any other 4xx are
    `ChannelRefused`. Messages go out one after the other; when one fails, those behind it are not sent.

    Args:
        url: With `?secret_env=NAME`, the environment variable that has the secret (`whsec_...`; two of them with a space
            between while they change), or `?secret=`; `?allow_private=yes` for addresses that are none of the public internet;
            `?timeout=` for one request (15 s); `?cafile=`. The rest of the query is a part of the address.

    Raises:
        InvalidChannelUrl: It makes no sense.
    """

    def __init__(self, url: str) -> None:
        self._target = read_target(url)
        self.name = self._target.name

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        yield

    def open_source(self, place: str, *, prefetch: int) -> AbstractAsyncContextManager[Source]:
        raise NotSupported(self.name, "messages to receive", "POST /queues/<queue> of the HTTP door takes them in")

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        address = self._target.address_of(place)
        for message in messages:
            await self._send(address, message)

    async def check(self) -> str:
        try:
            with fail_after(self._target.timeout_seconds):
                await aclose_forcefully(await open_stream(self._target))
        except (NoAnswer, TimeoutError) as error:
            raise self._unavailable(error) from error
        return f"{self._target.authority} can be connected to; {'signed' if self._target.secrets else 'not signed'}"

    async def _send(self, address: str, message: ChannelMessage) -> None:
        headers = self._headers(message)
        try:
            with fail_after(self._target.timeout_seconds):
                answer = await post(self._target, address, headers, message.body)
        except (NoAnswer, TimeoutError) as error:
            raise self._unavailable(error) from error
        self._judge(answer)

    def _headers(self, message: ChannelMessage) -> list[tuple[bytes, bytes]]:
        """Return what is said beside the body.

        Raises:
            ChannelRefused: HTTP has no form for it.
        """
        message_id, now = message.id or uuid4().hex, int(time.time())
        said = {
            "content-type": message.content_type or "application/octet-stream",
            "user-agent": "nursery-tasks",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
        }
        if self._target.secrets:
            said["webhook-signature"] = signatures(self._target.secrets, message_id, now, message.body)
        if self._target.user_info is not None:
            said["authorization"] = f"Basic {base64.b64encode(self._target.user_info.encode()).decode()}"
        if message.correlation_id is not None:
            said["x-correlation-id"] = message.correlation_id
        if message.reply_to is not None:
            said["x-reply-to"] = message.reply_to
        said |= {name: text for name, text in message.headers.items() if name.lower() not in _NOT_THEIRS}
        for name, text in said.items():
            if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(text):
                raise ChannelRefused(self.name, f"no header of HTTP can be made of {name!r}")
        return [(name.encode(), text.strip(" \t").encode()) for name, text in said.items()]

    def _judge(self, answer: Answer) -> None:
        """Return when the other side has taken the message; else say what it has answered."""
        if 200 <= answer.status < 300:
            return
        problem = f"it has answered {answer.status}"
        if 300 <= answer.status < 400:
            raise ChannelRefused(self.name, f"{problem}: redirects are not followed; write the new address into the URL")
        if 400 <= answer.status < 500 and answer.status not in _LATER:
            gone = ": it wants no more of them" if answer.status == 410 else ""
            raise ChannelRefused(self.name, problem + gone)
        raise ChannelUnavailable(self.name, problem, retry_seconds=read_retry_after(answer.headers.get("retry-after")))

    def _unavailable(self, error: Exception) -> ChannelUnavailable:
        late = f"no answer within {self._target.timeout_seconds:g} s"
        return ChannelUnavailable(self.name, late if isinstance(error, TimeoutError) else str(error))


def read_retry_after(text: str | None) -> float | None:
    """Return in how many seconds the other side wants to be asked again; None: it has not said, or nothing that makes sense."""
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text) if not text.strip().isdecimal() else None
    except ValueError:
        return None
    if moment is None:
        seconds = float(text.strip())
    else:
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
    return min(max(0.0, seconds), RETRY_MOST_SECONDS)
