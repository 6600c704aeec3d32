"""From `module:app` to the app, and what to say when that does not work."""

from __future__ import annotations

import importlib
import linecache
import os
import sys
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from .. import App, Flow
from .output import note
from .trouble import Trouble

IMPORT_SECONDS: Final = 5.0  # a module that takes longer probably waits for something, and nobody sees for what
_NAMES_SHOWN: Final = 5


@dataclass(frozen=True)
class LoadedApp:
    """An app and where it came from.

    Attributes:
        place: `module:name`, in full.
        file: The module's file, if it has one.
    """

    app: App
    place: str
    file: str | None


def load_app(place: str) -> LoadedApp:
    """Import `module:app`, or `module` when it is clear which app is meant.

    Raises:
        Trouble: It cannot be had; the text says what was meant, or what is broken.
    """
    module_name, _, attribute = place.partition(":")
    _check_spelling(place, module_name, attribute)
    module = _import(module_name)
    name = attribute or _choose(module)
    found = _look_up(module, name, _apps_hint(module, name))
    if not isinstance(found, App):
        raise Trouble(f"{module_name}:{name} is {_kind_of(found)}, not an App", _apps_hint(module, name))
    return LoadedApp(found, f"{module_name}:{name}", getattr(module, "__file__", None))


def load_flow(place: str) -> Flow[Any]:
    """Import `module:flow`. Raises as `load_app` does."""
    module_name, _, name = place.partition(":")
    if not name:
        raise Trouble(f"{place!r} is not module:flow", "write the module's name, a colon, and the flow's name: reports:flow")
    _check_spelling(place, module_name, name)
    module = _import(module_name)
    flows = [known for known, value in vars(module).items() if isinstance(value, Flow)]
    hint = _flows_hint(module, name, flows)
    found = _look_up(module, name, hint)
    given: object = found  # type checkers narrow this name only
    if not isinstance(given, Flow):
        raise Trouble(f"{module_name}:{name} is {_kind_of(found)}, not a flow", hint)
    flow: Flow[Any] = found
    return flow


def _flows_hint(module: ModuleType, name: str, flows: list[str]) -> str:
    if not flows:
        where = _shown(getattr(module, "__file__", None) or module.__name__)
        return f"it has no flow at all; write flow = sequence(...) at the top of {where}"
    meant = get_close_matches(name, flows, n=1) or flows
    return f"did you mean {module.__name__}:{meant[0]}?" if len(meant) == 1 else f"its flows: {_listed(flows)}"


def names_app(place: str) -> bool:
    """Say whether *place*, which may be anything, is `module:app` and can be loaded."""
    module_name, colon, attribute = place.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        return False
    try:
        load_app(place)
    except Trouble:
        return False
    return True


def _check_spelling(place: str, module_name: str, attribute: str) -> None:
    if module_name.endswith(".py") or os.sep in module_name:
        dotted = module_name.removesuffix(".py").removeprefix("./").replace(os.sep, ".")
        raise Trouble(f"{module_name!r} is a file, not a module", f"did you mean {dotted}:{attribute or 'app'}?")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise Trouble(f"{place!r} is not module:app", "write the module's name, a colon, and the app's name: greetings:app")


def _import(name: str) -> ModuleType:
    if os.getcwd() not in sys.path:  # the installed command starts with its own directory there, not with this one
        sys.path.insert(0, os.getcwd())
    try:
        with _saying_where(name):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise Trouble(f"there is no module {error.name!r}, seen from {os.getcwd()}", _modules_hint(error.name)) from error
        raise _broken(name, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


@contextmanager
def _saying_where(name: str) -> Generator[None, None, None]:
    """Say where the import is, once, when it has not ended after some seconds."""
    timer = threading.Timer(IMPORT_SECONDS, _say_where, (name, threading.get_ident()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say_where(name: str, thread: int) -> None:
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]  # documented, in spite of its name
    where = _pointed_at(traceback.extract_stack(frame))
    note(f"{name!r} is still being imported after {IMPORT_SECONDS:g} s; it is here:\n{where}")


def _broken(name: str, error: BaseException) -> Trouble:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Trouble(f"{name!r} cannot be imported: {text}", _where(error), "-v shows the traceback")


def _where(error: BaseException) -> str:
    """Say where the error is: the deepest line below this directory, else the deepest one that is no import machinery."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}:{error.lineno}: {(error.text or '').strip()}"
    return _pointed_at(traceback.extract_tb(error.__traceback__))


def _pointed_at(stack: traceback.StackSummary) -> str:
    frames = [frame for frame in stack if not _is_machinery(frame.filename)]
    own = [
        frame for frame in frames if Path(frame.filename).is_relative_to(os.getcwd()) and "site-packages" not in frame.filename
    ]
    if not frames:
        return "there is nothing to point at"
    frame = (own or frames)[-1]
    line = frame.lineno or 0
    return f"{_shown(frame.filename)}:{line}: {linecache.getline(frame.filename, line).strip()}"


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<") or filename in (__file__, importlib.__file__)


def _shown(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(os.getcwd())) if path.is_relative_to(os.getcwd()) else filename


def _modules_hint(name: str) -> str:
    here = sorted({path.stem for path in Path().glob("*.py")} | {path.parent.name for path in Path().glob("*/__init__.py")})
    close = get_close_matches(name.partition(".")[0], here, n=1)
    if close:
        return f"did you mean {close[0]}:app?"
    if not here:
        return "there are no Python modules in this directory; change to the one that has your app"
    return f"the modules here: {_listed(here)}"


def _choose(module: ModuleType) -> str:
    apps = _apps_in(module)
    if isinstance(getattr(module, "app", None), App) or not apps:
        return "app"
    if len(apps) > 1:
        raise Trouble(
            f"{module.__name__} has several apps", f"name one: {_listed([f'{module.__name__}:{name}' for name in apps])}"
        )
    return apps[0]


def _look_up(module: ModuleType, name: str, hint: str) -> Any:
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise Trouble(f"the module {module.__name__!r} has no {name!r}", hint) from None
    return found


def _apps_in(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, App)]


def _apps_hint(module: ModuleType, name: str) -> str:
    apps = _apps_in(module)
    if not apps:
        return f"it has no App at all; write app = App() in {_shown(getattr(module, '__file__', None) or module.__name__)}"
    meant = get_close_matches(name, apps, n=1) or apps
    return f"did you mean {module.__name__}:{meant[0]}?" if len(meant) == 1 else f"its apps: {_listed(apps)}"


def _kind_of(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
