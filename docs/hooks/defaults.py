"""Puts the values of defaults into the reference, where the code has names for them that a reader cannot know."""

from __future__ import annotations

import re
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import nursery_tasks

NAME = re.compile(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b")
PAGES = ("reference/api.md", "reference/testing.md")
ROOMS = tuple(f"nursery_tasks.{room}" for room in ("app", "client", "declaring", "model", "shell", "workflows"))


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Write `15.0` for `OWNER_LEASE_SECONDS`, and so on."""
    if page.file.src_uri not in PAGES:
        return html
    values = constants()
    return NAME.sub(lambda found: values.get(found[0], found[0]), html)


def constants() -> dict[str, str]:
    """Return the numbers that have a name in the code."""
    found: dict[str, str] = {}
    for module in walk_packages(nursery_tasks.__path__, "nursery_tasks."):
        if module.name.startswith(ROOMS):
            for name, value in vars(import_module(module.name)).items():
                if NAME.fullmatch(name) and isinstance(value, int | float):
                    found[name] = f"{value:_}" if isinstance(value, int) else f"{value:g}"
    return found
