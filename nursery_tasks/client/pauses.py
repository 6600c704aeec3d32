"""`app.pauses`: tasks whose jobs wait, all of them or those with one value of an argument, until they are resumed."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from typing import Any, cast

from ..brokers.needed import pauses_of
from ..errors import InvalidOptions
from ..model.options import check_name
from ..model.pauses import MAX_NOTE, MAX_PAUSES, MAX_VALUE, PauseRecord, name_of_pause, value_text
from ..registry import Registry
from .calls import Calls
from .choosing import check_text


class Pauses:
    """What is paused of an app's tasks: `app.pauses`.

        await app.pauses.pause("import_orders", note="their API is down")
        await app.pauses.pause("import_orders", where={"customer": "eu-7"})
        await app.pauses.resume("import_orders")

    Jobs of what is paused are not started by any worker of this broker, and keep their places; what runs goes on, and so does
    enqueueing. A job waits for as long as one pause is about it. Workers hear of a change within two seconds, most of them at
    once.

    Args:
        node: This machine, for `by`.
    """

    def __init__(self, calls: Callable[[], Calls], registry: Registry, node: str) -> None:
        self._calls = calls
        self._registry = registry
        self._node = node

    async def pause(
        self, task: str, *, where: Mapping[str, Any] | None = None, note: str = "", by: str | None = None
    ) -> PauseRecord:
        """Let no job of a task start, or none with certain arguments; durable when it returns. Again: with another note.

        Args:
            task: Its name, also of a task that this process has not imported.
            where: Arguments by name, and the value that each must have, as in `{"customer": "eu-7"}`. Values are compared as
                texts, so `7` and `"7"` are one; a default counts where the argument is not given.
            note: Why, for those who list pauses.
            by: Who says so; None: this program's user and machine.

        Raises:
            InvalidOptions: The name is none, the task is known here and has no such argument, or there are too many pauses.
            NotSupported: The broker keeps no jobs; the message names the setting.
        """
        checked = self._check_where(task, where)
        for option, given in (("note", note), ("by", "" if by is None else by)):
            if not isinstance(cast("object", given), str) or len(given) > MAX_NOTE:
                raise InvalidOptions(option, given, f"a text of at most {MAX_NOTE:,} characters")
        pause = PauseRecord(task=task, where=checked, note=note, by=_who(self._node) if by is None else by)
        calls = self._calls()
        pauses = pauses_of(calls.broker)
        known = {each.name for each in (await calls(pauses.list_pauses)).records}
        if pause.name not in known and len(known) >= MAX_PAUSES:
            raise InvalidOptions("task", task, f"no more than {MAX_PAUSES:,} pauses: pause the whole task, or its queue")
        await calls(pauses.pause_task, pause)
        return next((each for each in (await calls(pauses.list_pauses)).records if each.name == pause.name), pause)

    async def resume(self, task: str, *, where: Mapping[str, Any] | None = None) -> bool:
        """Undo the `pause` of the same arguments. What waits starts in its order. False: that was not paused.

        Raises:
            InvalidOptions: The name is none, or the task is known here and has no such argument.
            NotSupported: The broker keeps no jobs.
        """
        name = name_of_pause(task, self._check_where(task, where))
        calls = self._calls()
        return await calls(pauses_of(calls.broker).resume_task, name)

    async def list(self) -> builtins.list[PauseRecord]:
        """List what is paused, by task; since when, by whom, why, and how many jobs workers have put aside for it."""
        calls = self._calls()
        return [*(await calls(pauses_of(calls.broker).list_pauses)).records]

    def _check_where(self, task: str, where: Mapping[str, Any] | None) -> dict[str, str]:
        """Check what a pause is about; return the values as texts."""
        check_text("task", task)
        check_name("task", task)
        given: object = where  # what a caller without a type checker has given
        if given is not None and (not isinstance(given, Mapping) or not given):
            raise InvalidOptions("where", given, "arguments by name, such as {'customer': 'eu-7'}, or None for all jobs")
        spec = self._registry.tasks.get(task)
        texts: dict[str, str] = {}
        for name, value in () if where is None else where.items():
            if not isinstance(cast("object", name), str) or not name.isidentifier():
                raise InvalidOptions("where", where, "arguments by their names, such as {'customer': 'eu-7'}")
            if spec is not None and not spec.signature.takes(name):
                listed = ", ".join(spec.signature.parameters) or "none"
                raise InvalidOptions("where", where, f"names of parameters of {task}; it has {listed}")
            texts[name] = value_text(self._registry.codec.plain(value))
            if len(texts[name]) > MAX_VALUE:
                raise InvalidOptions("where", where, f"values of at most {MAX_VALUE:,} characters")
        return texts


def _who(node: str) -> str:
    import getpass  # late: it loads much, and few programs pause something

    try:
        return f"{getpass.getuser()}@{node}"
    except (KeyError, OSError, ImportError):  # this process's user has no name, as in some containers
        return node
