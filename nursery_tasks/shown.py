"""How text that came from elsewhere is shown to a person: URLs without their passwords, nothing that a terminal obeys, and
names in commands as a shell takes them.

Two rules, and both err on the side of showing less. What may be a password is hidden also where the URL does not parse, which
is when it is shown in an error. What a job, a message or a name says is plain text where a person reads it: no escape
sequence, no line of its own, no change of the reading direction.
"""

from __future__ import annotations

import re
import shlex
from typing import Final
from urllib.parse import quote, unquote

LONGEST: Final = 300  # characters of a value in an error; a name has at most 200

_HIDDEN: Final = "***"
_STORE: Final = re.compile(r"([?&]store=)([^&]*)")
_SECRETS: Final = re.compile(r"([?&#;][^=&]*(?:pas|pwd|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)  # misspelled, too
_SCHEME: Final = re.compile(r"[^/\\@:]*:?[/\\]+")  # also one that lacks its colon, or has a slash too many
_WHOLE: Final = re.compile(r"\s*(amqps?)://", re.IGNORECASE)  # a user without a password is usual here, and no secret
_FILE: Final = re.compile(r"\s*(?:sqlite|unix):///", re.IGNORECASE)  # no user stands there, and paths may have any character
_IN_TEXT: Final = re.compile(r"([A-Za-z][\w+.-]*:?[/\\]+)(?=\S*@)(\S*)")

# C0, DEL and C1 (whose \x9b begins an escape sequence, too), line separators, what changes the direction of reading or cannot
# be seen, and halves of characters. Joiners (\u200c, \u200d) stay: Persian is written with them, and emoji are.
_OBEYED: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f"
)
_UNSEEN: Final = re.compile(f"[{_OBEYED}\n\t]")
_UNSEEN_IN_LINES: Final = re.compile(f"[{_OBEYED}]")


def command_line(command: str, *names: str) -> str:
    """Return a command of ours that a person may copy into a shell. Names may have quotes and spaces, or begin with a dash.

    Args:
        command: As it stands, from the word after `nursery-tasks` on; where the last word is an option, a name is its value.
    """
    is_value, is_dashed = command.rpartition(" ")[2].startswith("--"), any(name.startswith("-") for name in names)
    link = " " if not is_dashed else "=" if is_value else " -- "
    return f"nursery-tasks {command}{link}{shlex.join(names)}"


def redacted(url: str) -> str:
    """Return a URL without its passwords, or whatever was given for one."""
    url = _STORE.sub(lambda found: found[1] + quote(redacted(unquote(found[2])), safe="/:*"), url)
    url = _SECRETS.sub(rf"\1{_HIDDEN}", url)
    if _FILE.match(url):
        return url
    scheme = _SCHEME.match(url)
    start = scheme.end() if scheme else 0
    user_info, at, place = url[start:].rpartition("@")
    if not at:
        return url[:start] + _without_odd_port(url[start:])
    user, colon, _ = user_info.partition(":")
    if colon:
        return f"{url[:start]}{user}:{_HIDDEN}@{place}"
    return f"{url[:start]}{user if _WHOLE.match(url) else _HIDDEN}@{place}"


def without_passwords(text: str) -> str:
    """Hide the passwords of URLs that stand in a text."""
    return _IN_TEXT.sub(lambda found: redacted(found[0]), text) if "@" in text else text


def shortened(text: str, most: int = LONGEST) -> str:
    """Return *text*, or of a long one both ends: a whole document may stand where a name was expected."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 :]}"


def visible(text: str) -> str:
    """Return *text* so that it stays in its line and a terminal only shows it: what it would obey is `\\x1b`, say."""
    return _UNSEEN.sub(_escaped, text)


def visible_lines(text: str, indent: str = "    ") -> str:
    """Return *text* with its line breaks, so that no line of it begins where a line of ours does."""
    first, *rest = _UNSEEN_IN_LINES.sub(_escaped, text.replace("\r\n", "\n")).split("\n")
    return "\n".join([first, *(f"{indent}{line}".rstrip() for line in rest)])


def visible_json(document: str) -> str:
    """Return a JSON document that says the same, and is plain text, too."""
    return _UNSEEN_IN_LINES.sub(_escaped_in_json, document)


def _escaped(found: re.Match[str]) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(found[0])
    return named or found[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def _escaped_in_json(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def _without_odd_port(place: str) -> str:
    """Hide what stands where a port does and is none: the password of a URL whose @ was encoded, or forgotten."""
    host, colon, rest = re.sub(r"^\[[^\]]*\]", lambda found: found[0].replace(":", "\0"), place).partition(":")
    if not colon or "/" in host or re.match(r"\d{0,5}(?:,[^,:@]*(?::\d{0,5})?)*(?:[/?#]|$)", rest):
        return place
    return f"{host}:{_HIDDEN}".replace("\0", ":")
