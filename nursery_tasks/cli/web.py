"""`nursery-tasks web`: the HTTP door alone, and tokens for it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from anyio import CancelScope, create_task_group, open_signal_receiver
from msgspec.structs import replace
from typer.core import TyperGroup

from .. import App
from ..errors import InvalidOptions
from .http import (
    AnyTaskOption,
    CertOption,
    ClientCaOption,
    HostOption,
    Http,
    KeyOption,
    RpcOption,
    TokenFileOption,
    http_of,
)
from .leaving import ending_signals, leave_at_once
from .loading import load_app
from .loops import check_loop, run_on_loop
from .options import Backend, BackendOption, JsonOption, UvloopOption, VerboseOption
from .output import note, write_json, write_line
from .run import LogLevelOption, QuietOption, log_level_of
from .speaking import set_up_logging
from .trouble import OK

if TYPE_CHECKING:
    from ..web.serving import ServedDoor

DEFAULT_ADDRESS: Final = "127.0.0.1:8000"
LEAST_SECRET: Final = 16  # characters of a secret that a person has chosen


class _OrServe(TyperGroup):
    """A group whose name with something else behind it serves that."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["serve", *args]
        return super().resolve_command(ctx, args)


web = typer.Typer(
    cls=_OrServe,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Answer HTTP for an app, without running jobs; make tokens.",
    help="Answer HTTP for an app, without running jobs: `nursery-tasks web module:app`.",
)


@web.command()
def serve(
    place: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the app is; MODULE alone finds the only one.")],
    address: Annotated[str, typer.Option("--http", metavar="ADDRESS", help="Where.")] = DEFAULT_ADDRESS,
    token_file: TokenFileOption = None,
    certificate: CertOption = None,
    key: KeyOption = None,
    client_ca: ClientCaOption = None,
    host: HostOption = None,
    any_task: AnyTaskOption = False,
    rpc: RpcOption = False,
    drain: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How long requests may go on after the first signal.")
    ] = 25.0,
    backend: BackendOption = Backend.ASYNCIO,
    uvloop: UvloopOption = False,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Answer HTTP for an app until a signal comes, and run no jobs: workers elsewhere do.

    The first signal lets requests end that are under way, and others are answered with 503. A second one cuts them short, a
    third one leaves at once.
    """
    check_loop(backend, uvloop)
    http = http_of(address, token_file, certificate, key, client_ca, host, any_task, rpc)
    assert http is not None
    loaded = load_app(place)
    set_up_logging(log_level_of(log_level))
    return run_on_loop(_serve, loaded.app, http, drain, quiet, backend=backend, uvloop=uvloop)


async def _serve(app: App, http: Http, drain_seconds: float, quiet: bool) -> int:
    from ..web.serving import open_door  # late: the other commands need none

    with open_signal_receiver(*ending_signals()) as signals:
        async with app, open_door(app, http.server, http.options) as door:
            if not quiet:
                write_line(f"answering at {door.url}; Ctrl-C ends it")
                sys.stdout.flush()
            await _until_signals(door, drain_seconds, signals)
    return OK


async def _until_signals(door: ServedDoor, drain_seconds: float, signals: AsyncIterator[int]) -> None:
    """Wait for the first signal, and then until nothing is under way; owns a nursery of one child, which hears of the next."""
    await anext(signals)

    async def hear_next() -> None:
        await anext(signals)
        draining.cancel()
        leave_at_once(await anext(signals))

    draining = CancelScope()
    async with create_task_group() as group:
        group.start_soon(hear_next, name="next signals")
        with draining:
            await door.finish(drain_seconds)
        await door.finish(0.0)
        group.cancel_scope.cancel()


@web.command()
def token(
    name: Annotated[str, typer.Option("--name", help="Who has it, for the log.")] = "client",
    role: Annotated[str, typer.Option("--role", help="read, operate or admin.")] = "read",
    queue: Annotated[list[str] | None, typer.Option("--queue", metavar="NAME", help="Only this queue.")] = None,
    verb: Annotated[list[str] | None, typer.Option("--verb", help="Only this of what the role may do.")] = None,
    own: Annotated[bool, typer.Option("--own", help="Read a secret of your own from standard input.")] = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Make a token. The secret is shown once, and kept nowhere; the line is for the file of --http-token-file.

    `read` looks; `operate` also submits, sends, cancels, retries and pauses; `admin` also purges and changes schedules.
    """
    from ..web.callers import hash_secret, new_token  # late: the other commands need none

    secret, made = new_token(name, role, queue or [], verb or [])
    if own:
        secret = sys.stdin.readline().strip()
        if len(secret) < LEAST_SECRET:
            raise InvalidOptions("--own", "***", f"a secret of at least {LEAST_SECRET} characters on standard input")
        made = replace(made, hash=hash_secret(secret))
    line = msgspec.json.encode(made).decode()
    if as_json:
        write_json({"secret": secret, "line": line})
    else:
        note("secret: your own" if own else f"secret: {secret}")
        write_line(line)
    return OK
