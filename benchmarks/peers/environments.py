"""A virtual environment for each peer, with the latest releases that fit this Python.

They lie in `.bench/peers/` of the checkout and are made once; delete the folder to have newer releases. What is in them is
recorded with the figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from measuring import progress

ROOT = Path(__file__).resolve().parents[2] / ".bench" / "peers"

# hiredis and uvloop wherever the peer can use them: each of them recommends it.
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "streaq": ("streaq", "uvloop"),
    "saq": ("saq[redis,hiredis]", "uvloop", "typing_extensions"),  # it imports the last without asking for it
    "taskiq": ("taskiq", "taskiq-redis", "taskiq-aio-pika", "uvloop", "hiredis", "orjson"),
    "arq": ("arq", "uvloop", "hiredis"),
    "dramatiq": ("dramatiq[redis,rabbitmq]", "hiredis"),
    "celery": ("celery[redis]", "hiredis"),
    "huey": ("huey",),
}
_SHOWN = {
    "redis",
    "hiredis",
    "uvloop",
    "kombu",
    "coredis",
    "taskiq-redis",
    "taskiq-aio-pika",
    "aio-pika",
    "pika",
    "amqp",
    "orjson",
}


def bin_of(name: str) -> Path:
    """Return the folder of an environment's programs; make the environment when it is not there."""
    folder = ROOT / name
    stamp = folder / "requirements"
    wanted = "\n".join((sys.version, *REQUIREMENTS[name]))
    if not stamp.exists() or stamp.read_text() != wanted:
        progress(f"installing {name} into {folder}")
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--upgrade", *REQUIREMENTS[name])
        stamp.write_text(wanted)
    return folder / "bin"


@cache
def versions(name: str) -> str:
    """Return the peer's version, and those of what it stands on, as in `arq 0.26.3 (redis 5.2, hiredis 3.0)`."""
    listed = subprocess.run(
        [str(bin_of(name) / "python"), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        check=True,
        stdout=subprocess.PIPE,
    )
    found = {each["name"].lower(): each["version"] for each in json.loads(listed.stdout)}
    below = ", ".join(f"{package} {found[package]}" for package in sorted(_SHOWN & found.keys()))
    return f"{name} {found[name]} ({below})"


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}")
