"""`nursery-tasks graph`: the shape of a flow, as a picture's source."""

from __future__ import annotations

from typing import Annotated

import typer

from .loading import load_flow
from .options import VerboseOption
from .output import write_text
from .trouble import OK


def graph(
    flow: Annotated[str, typer.Argument(metavar="MODULE:FLOW", help="What `sequence(...)` or `parallel(...)` returned.")],
    verbose: VerboseOption = False,
) -> int:
    """Draw a flow as a Mermaid flowchart: jobs are boxes, plain functions are round, groups are frames.

    The text can be put into Markdown, in a block that begins with ```mermaid, or into any Mermaid viewer. Nothing is run, and
    no broker is opened.
    """
    write_text(load_flow(flow).to_mermaid())
    return OK
