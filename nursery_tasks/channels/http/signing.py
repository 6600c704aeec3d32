"""Standard Webhooks: how a receiver knows who has sent a message, and that it has not changed.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

PREFIX: Final = "whsec_"
LEAST_BYTES: Final = 24  # of a secret, says the specification


def read_secrets(text: str) -> list[bytes]:
    """Return the secrets in a text, with spaces between them; while one replaces another there are two.

    Raises:
        ValueError: It says what is wrong, and not what the text is.
    """
    secrets: list[bytes] = []
    for word in text.split():
        try:
            secret = base64.b64decode(word.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"is no secret: {PREFIX} and base64") from None
        if len(secret) < LEAST_BYTES:
            raise ValueError(f"is a secret of {len(secret)} bytes, and {LEAST_BYTES} are the least")
        secrets.append(secret)
    if not secrets:
        raise ValueError("is empty")
    return secrets


def signatures(secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.new(secret, signed, sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
