"""What a forked child of this process inherits and must not act on.

A handler may fork: by `multiprocessing` (its default start method on Linux until Python 3.14), by `os.fork()`, or with a
`preexec_fn`. The child is a copy of the worker, with three things that are the worker's alone:

- **Signals.** A signal to the child runs the worker's handler in the copy, where nobody waits for it, and writes its number
  into the pipe that wakes the *worker's* loop: the child lives, and the worker stops. From before the fork until the child has
  given that up, signals are blocked in the forking thread, so one that is sent to a child that was just born waits, and then
  ends it.
- **Descriptors** that somebody waits for the end of, and which a child that lives on keeps open. They become `/dev/null` in the
  child. They are not closed, because their numbers would be given to something else, which their owners would then close.
- **The way back.** A child that returns from its handler, or raises, would go on as a second worker, with the same jobs and
  the same sockets. It ends instead, as a program of its own would.

And one thing that is everybody's: the lock of a module that another thread was importing. In the child nobody will ever release
it, so a fork waits for the imports that are known to be late (`imports_late`), for a moment. It waits, too, while another
thread starts a program: `subprocess.Popen` hears from the new program by the end of a pipe, and the child would have a copy of
that pipe, open for as long as it lives. (Trio starts all programs in threads, a worker's processes for handlers among them.)

All hooks are registered here, once. Hooks registered with Python while a fork is under way are called after it without having
been called before it; ours are not, because they are called from one pair.

What forks without Python's knowledge (C libraries) passes none of this.
"""

from __future__ import annotations

import logging as logging  # its hook, which takes a lock, must be registered before ours: the last one is called first
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, NoReturn, TypeVar

T = TypeVar("T")

IMPORT_SECONDS: Final = 2.0  # how long a fork waits for imports
START_SECONDS: Final = 2.0  # and for programs that start
LOOK_SECONDS: Final = 0.001


class ChildAwaits(RuntimeError):
    """A forked child of a handler has come to an `await`."""

    def __init__(self) -> None:
        super().__init__(
            "a forked child cannot await: the event loop is its parent's; use asyncio.run() or anyio.run() in there"
        )


@dataclass(frozen=True)
class _Hooks:
    """What a module does around each fork of this process."""

    before: Callable[[], object] | None
    in_parent: Callable[[], object] | None
    in_child: Callable[[], object] | None


class _Here:
    """What is true of this process."""

    hooks: tuple[_Hooks, ...] = ()
    importing = threading.RLock()
    restores_signals = False  # the hook that comes after all others is registered

    generation = 0  # how many forks lie between the first process of the program and this one
    signals: tuple[signal.Signals, ...] = ()  # what the worker receives
    withheld: Final[set[int]] = set()
    renewed: Final[weakref.WeakKeyDictionary[Any, Callable[[Any], object]]] = weakref.WeakKeyDictionary()


class _Forking(threading.local):
    """Of the thread that forks, from before the fork until after it, in the parent as in the child."""

    mask: set[signal.Signals] | set[int] | None = None
    is_interruptible = False  # in the child: SIGINT was the worker's, and is to raise KeyboardInterrupt again
    hooks: tuple[_Hooks, ...] = ()
    nobody_imports = False


_forking = _Forking()


def generation() -> int:
    """Return a number that is another one in a forked child."""
    return _Here.generation


@contextmanager
def own_signals(numbers: Sequence[signal.Signals]) -> Generator[None, None, None]:
    """Give a forked child the ordinary meaning of these signals, while the context is open; one that is ignored stays so."""
    if not _Here.restores_signals and hasattr(os, "register_at_fork"):
        # Now, and not above: what is imported for a worker has registered hooks of its own by now, which come before this one.
        os.register_at_fork(after_in_child=_restore_signals)
        _Here.restores_signals = True
    _Here.signals = tuple(numbers)
    try:
        yield
    finally:
        _Here.signals = ()


def renew_in_children(thing: T, renew: Callable[[T], object]) -> None:
    """Have `renew(thing)` called in each child, where only the thread that has forked is left, while there is such a thing.

    Args:
        renew: Must not refer to *thing* itself.
    """
    _Here.renewed[thing] = renew


def withhold(fd: int) -> None:
    """Keep a descriptor from forked children, until `release`."""
    if fd >= 0:
        _Here.withheld.add(fd)


def release(fd: int) -> None:
    """Let it go, before it is closed."""
    _Here.withheld.discard(fd)


def end_child(error: BaseException | None = None) -> NoReturn:
    """End a forked child that has come back from its handler, with the exit code of a program that ends so."""
    code = 0
    try:
        if isinstance(error, SystemExit):
            code = _exit_code(error)
        elif error is not None:
            code = 1
            traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    finally:
        os._exit(code)


def _exit_code(error: SystemExit) -> int:
    given: Any = error.code
    if given is None or isinstance(given, int):
        return (given or 0) & 0xFF
    print(given, file=sys.stderr)
    return 1


def at_fork(
    *,
    before: Callable[[], object] | None = None,
    in_parent: Callable[[], object] | None = None,
    in_child: Callable[[], object] | None = None,
) -> None:
    """Have functions called around each fork of this process from now on: the last *before* first, the others in order."""
    _Here.hooks = (*_Here.hooks, _Hooks(before, in_parent, in_child))


@contextmanager
def imports_late() -> Generator[None, None, None]:
    """Import modules in here that are not loaded with the package: no fork of another thread happens meanwhile."""
    with _Here.importing:
        yield


def _before() -> None:
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _Here.signals) if _Here.signals else None
    _forking.nobody_imports = _Here.importing.acquire(timeout=IMPORT_SECONDS)
    until = time.monotonic() + START_SECONDS
    while _is_starting_a_program() and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    _forking.hooks = _Here.hooks
    for hooks in reversed(_forking.hooks):
        if hooks.before is not None:
            hooks.before()


def _is_starting_a_program() -> bool:
    """Say whether another thread is inside of `Popen()`; one that waits in there for our own lock does not count."""
    subprocess = sys.modules.get("subprocess")
    if subprocess is None:
        return False
    start, waits = subprocess.Popen.__init__.__code__, _before.__code__
    here = threading.get_ident()
    for thread, top in sys._current_frames().items():  # pyright: ignore[reportPrivateUsage] - documented all the same
        frame: FrameType | None = top if thread != here else None
        while frame is not None and frame.f_code is not waits:
            if frame.f_code is start:
                return True
            frame = frame.f_back
    return False


def _in_parent() -> None:
    for hooks in _forking.hooks:
        if hooks.in_parent is not None:
            hooks.in_parent()
    _release_imports()
    _unblock()


def _release_imports() -> None:
    _forking.hooks = ()
    if _forking.nobody_imports:
        _forking.nobody_imports = False
        _Here.importing.release()


def _unblock() -> None:
    mask, _forking.mask = _forking.mask, None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    _Here.generation += 1
    received, _Here.signals = _Here.signals, ()
    if received:
        signal.set_wakeup_fd(-1)
        for number in received:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
    if _Here.withheld:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in _Here.withheld:
            os.dup2(null, fd, inheritable=False)
        os.close(null)
        _Here.withheld.clear()
    for thing, renew in list(_Here.renewed.items()):
        renew(thing)
    for hooks in _forking.hooks:
        if hooks.in_child is not None:
            hooks.in_child()
    if not _forking.nobody_imports:
        _Here.importing = threading.RLock()
    _release_imports()
    _forking.is_interruptible = signal.SIGINT in received and signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def _restore_signals() -> None:
    """Let signals reach the child: the last thing, as a KeyboardInterrupt that comes out of a hook is lost.

    One that was sent before now ends the child as a signal does, also one that arrives in here.
    """
    try:
        _unblock()
        if _forking.is_interruptible:
            _forking.is_interruptible = False
            signal.signal(signal.SIGINT, signal.default_int_handler)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
