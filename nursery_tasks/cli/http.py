"""Options of the HTTP door, which `run` and `web` share."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..errors import InvalidOptions

if TYPE_CHECKING:
    from ..web.server import ServerOptions
    from ..web.settings import DoorOptions

TOKENS_VARIABLE: Final = "NURSERY_TASKS_HTTP_TOKENS"

_PANEL: Final = "HTTP"
HttpOption = Annotated[
    str | None,
    typer.Option("--http", metavar="ADDRESS", help="Also answer HTTP there, such as 127.0.0.1:8000.", rich_help_panel=_PANEL),
]
TokenFileOption = Annotated[
    str | None,
    typer.Option(
        "--http-token-file",
        metavar="FILE",
        help=f"Who may call: lines that `nursery-tasks web token` writes; default: ${TOKENS_VARIABLE}.",
        rich_help_panel=_PANEL,
    ),
]
CertOption = Annotated[
    str | None, typer.Option("--http-cert", metavar="FILE", help="HTTPS, with this certificate.", rich_help_panel=_PANEL)
]
KeyOption = Annotated[
    str | None, typer.Option("--http-key", metavar="FILE", help="The certificate's key.", rich_help_panel=_PANEL)
]
ClientCaOption = Annotated[
    str | None,
    typer.Option(
        "--http-client-ca",
        metavar="FILE",
        help="Let in clients with a certificate that this one signed.",
        rich_help_panel=_PANEL,
    ),
]
HostOption = Annotated[
    list[str] | None,
    typer.Option("--http-host", metavar="NAME", help="A name by which it may be called.", rich_help_panel=_PANEL),
]
AnyTaskOption = Annotated[
    bool, typer.Option("--http-any-task", help="Also submit tasks that the app does not have.", rich_help_panel=_PANEL)
]
RpcOption = Annotated[bool, typer.Option("--http-rpc", help="Answer JSON-RPC 2.0 at /rpc.", rich_help_panel=_PANEL)]


@dataclass(frozen=True)
class Http:
    """Where the door is, and who may come in."""

    server: ServerOptions
    options: DoorOptions


def http_of(
    address: str | None,
    token_file: str | None,
    certificate: str | None,
    key: str | None,
    client_ca: str | None,
    hosts: list[str] | None,
    any_task: bool,
    rpc: bool,
    *,
    option: str = "--http",
    reuse_port: bool = False,
) -> Http | None:
    """Read the options; None: no door is wanted.

    Args:
        reuse_port: Several processes listen there.

    Raises:
        InvalidOptions: They make no sense, or any program on the network could call.
        MissingPackage: The extra `web` is not installed.
    """
    if address is None:
        _check_unused(token_file, certificate, key, client_ca, hosts, any_task, rpc)
        return None
    from ..web import check_installed  # late: most workers have no door

    check_installed()
    from ..web.callers import read_tokens
    from ..web.serving import check_exposure, parse_address, with_tls
    from ..web.settings import check_door_options

    server = replace(parse_address(option, address), reuse_port=reuse_port)
    if (certificate is None) != (key is None) or (client_ca is not None and certificate is None):
        raise InvalidOptions(
            "--http-cert", certificate, "--http-cert and --http-key together, with --http-client-ca or without"
        )
    if certificate is not None and key is not None:
        server = with_tls(server, certificate, key, client_ca)
    options: Any = {"any_task": any_task, "rpc": rpc, "hosts": hosts or []}
    if token_file is not None:
        try:
            text = Path(token_file).read_bytes()
        except OSError as error:
            raise InvalidOptions("--http-token-file", token_file, f"a file that can be read: {error.strerror}") from None
        options["tokens"] = read_tokens(text, token_file)
    elif TOKENS_VARIABLE in os.environ:
        options["tokens"] = read_tokens(os.environ[TOKENS_VARIABLE], f"${TOKENS_VARIABLE}")
    elif client_ca is not None:
        options["trusted"] = "operate"
    check_door_options(options)
    check_exposure(server, options)
    return Http(server, options)


def _check_unused(*given: object) -> None:
    if any(given):
        raise InvalidOptions("--http", None, "an address such as 127.0.0.1:8000 beside the other --http options")
