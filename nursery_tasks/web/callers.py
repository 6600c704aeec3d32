"""Who calls, and what they may do: tokens, of which only a hash is kept.

A token is made by `nursery-tasks web token`, with 256 random bits, so SHA-256 is enough for it: there is nothing to guess. For
a secret that a person has chosen there is scrypt, which is slow on purpose; so what it has proved is remembered.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from anyio import CapacityLimiter, to_thread

from ..errors import InvalidOptions
from ..model.options import check_name, check_queue

Role = Literal["read", "operate", "admin"]
ROLES: Final[tuple[Role, ...]] = ("read", "operate", "admin")
PREFIX: Final = "nt_"  # so that a token that leaks somewhere is recognised as one
TOKEN_BYTES: Final = 32
MOST_REMEMBERED: Final = 1_000

_READ: Final = frozenset({"read"})
_OPERATE: Final = _READ | {"submit", "send", "cancel", "retry", "pause"}
_ADMIN: Final = _OPERATE | {"purge", "schedule"}
VERBS: Final = {"read": _READ, "operate": _OPERATE, "admin": _ADMIN}

_SCRYPT_MEMORY: Final = 64 * 1024 * 1024


class Token(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One token, as it stands in a configuration.

    Attributes:
        name: Who has it, for the log.
        hash: `sha256:<hex>` or `scrypt:<n>:<r>:<p>:<salt>:<hash>`, the last two in base64.
        role: `read`, `operate` (also submit, send, cancel, retry, pause) or `admin` (also purge, and change schedules).
        queues: Only these; empty: all.
        verbs: Only these of its role's; empty: all.
    """

    name: str
    hash: str
    role: Role = "read"
    queues: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a request.

    Attributes:
        id: What its idempotency keys are hashed with.
        queues: What it may see and use; None: all.
    """

    name: str
    id: str = ""
    verbs: frozenset[str] = _ADMIN
    queues: frozenset[str] | None = None

    def may(self, verb: str) -> bool:
        """Say whether it may do that."""
        return verb in self.verbs

    def may_use(self, queue: str) -> bool:
        """Say whether it may see and use what is in that queue."""
        return self.queues is None or queue.partition("@")[0] in self.queues


LOCAL: Final = Caller(name="local")  # who is on this machine, where no tokens are asked for


def new_token(name: str, role: str, queues: Iterable[str] = (), verbs: Iterable[str] = ()) -> tuple[str, Token]:
    """Make a token; returns the secret, which is kept nowhere, and what to put into the configuration.

    Raises:
        InvalidOptions: Something makes no sense.
    """
    known: Role | None = next((one for one in ROLES if one == role), None)
    if known is None:
        raise InvalidOptions("role", role, f"one of {', '.join(ROLES)}")
    secret = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    digest = f"sha256:{hashlib.sha256(secret.encode()).hexdigest()}"
    return secret, check_token(Token(name=name, hash=digest, role=known, queues=tuple(queues), verbs=tuple(verbs)))


def hash_secret(secret: str) -> str:
    """Hash a secret that a person has chosen, slowly."""
    salt, n, r, p = secrets.token_bytes(16), 2**14, 8, 1
    made = hashlib.scrypt(secret.encode(), salt=salt, n=n, r=r, p=p, maxmem=_SCRYPT_MEMORY)
    return f"scrypt:{n}:{r}:{p}:{base64.b64encode(salt).decode()}:{base64.b64encode(made).decode()}"


def read_tokens(text: str | bytes, place: str) -> tuple[Token, ...]:
    """Read tokens, one JSON object in each line; empty lines and those that begin with # are left out.

    Args:
        place: Where they stand, for the error.

    Raises:
        InvalidOptions: A line is none. The error has the line's number and not the line.
    """
    lines = (text.decode(errors="replace") if isinstance(text, bytes) else text).splitlines()
    found: list[Token] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                found.append(check_token(msgspec.json.decode(line, type=Token)))
            except (msgspec.MsgspecError, InvalidOptions, UnicodeEncodeError) as error:
                expected = f"a token as `nursery-tasks web token` writes it: {error}"
                raise InvalidOptions("token", f"line {number} of {place}", expected) from None
    if not found:
        raise InvalidOptions("token", place, "a line for each token; `nursery-tasks web token` makes one")
    return tuple(found)


def check_token(token: Token) -> Token:
    """Check a token that was written by hand.

    Raises:
        InvalidOptions: It makes no sense.
    """
    check_name("name", token.name)
    for queue in token.queues:
        check_queue("queues", queue)
    for verb in token.verbs:
        if verb not in VERBS[token.role]:
            raise InvalidOptions("verbs", verb, f"of the role {token.role}: {', '.join(sorted(VERBS[token.role]))}")
    try:
        kind, *parts = token.hash.split(":")
        if not (kind == "sha256" and len(bytes.fromhex(parts[0])) == 32 and len(parts) == 1):
            n, r, p = map(int, parts[:3])
            salt, made = (base64.b64decode(part, validate=True) for part in parts[3:])
            if kind != "scrypt" or 128 * n * r > _SCRYPT_MEMORY // 2 or p < 1 or len(salt) < 8 or len(made) < 16:
                raise ValueError(kind)
    except (ValueError, IndexError):
        raise InvalidOptions("hash", "***", "sha256:<64 hexadecimal digits> or scrypt:n:r:p:salt:hash") from None
    return token


class Callers:
    """All who have a token.

    Args:
        tokens: Theirs.
    """

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._fast = [(token, bytes.fromhex(token.hash[7:])) for token in tokens if token.hash.startswith("sha256:")]
        self._slow = [token for token in tokens if token.hash.startswith("scrypt:")]
        self._proved: dict[bytes, Token] = {}  # of the slow ones, by the SHA-256 of their secret
        self._one_by_one = CapacityLimiter(1)  # a guess costs memory and a core

    async def find(self, secret: str) -> Caller | None:
        """Return whose token that is; None: no caller has it."""
        digest = hashlib.sha256(secret.encode(errors="surrogatepass")).digest()
        proved: Token | None = None
        for token, wanted in self._fast:  # all of them: how long it takes must not say which it was
            if hmac.compare_digest(digest, wanted):
                proved = token
        if proved is None and self._slow:
            proved = self._proved.get(digest) or await to_thread.run_sync(self._try, secret, limiter=self._one_by_one)
            if proved is not None and len(self._proved) < MOST_REMEMBERED:
                self._proved[digest] = proved
        return None if proved is None else _caller_of(proved)

    def _try(self, secret: str) -> Token | None:
        return next((token for token in self._slow if _is_of(token, secret)), None)


def _is_of(token: Token, secret: str) -> bool:
    _, n, r, p, salt, made = token.hash.split(":")
    tried = hashlib.scrypt(
        secret.encode(errors="surrogatepass"),
        salt=base64.b64decode(salt),
        n=int(n),
        r=int(r),
        p=int(p),
        maxmem=_SCRYPT_MEMORY,
    )
    return hmac.compare_digest(tried, base64.b64decode(made))


def _caller_of(token: Token) -> Caller:
    verbs = VERBS[token.role]
    return Caller(
        name=token.name,
        id=token.hash,
        verbs=verbs & frozenset(token.verbs) if token.verbs else verbs,
        queues=frozenset(token.queues) or None,
    )
