"""Inside of a host: handlers run on the main thread, another one reads what the worker says.

So `check_cancelled()`, progress, prints and logs work while a handler computes. What a handler cannot be asked (it holds the
GIL, or blocks in C) is done from outside, by the guard.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from types import FrameType, ModuleType
from typing import Any, Final, NoReturn

import msgspec

from ...current import CurrentJob
from ...errors import CancelRequested, PayloadTooLarge
from ...forks import at_fork
from ...model.options import MAX_PROGRESS_BYTES
from ...program import become_host, resident_bytes
from ..perform import find_task, perform
from .distant import DistantContext, DistantItems
from .frames import MAX_BODY, Begun, Cancel, FrameBuffer, Header, Items, Progress, Put, Setup, Waits, Work, pack
from .writing import Writer

RECEIVE_BYTES: Final = 256 * 1024


def serve_jobs(sock: socket.socket) -> NoReturn:
    """Do what the worker sends until it is gone. The process never leaves this by itself."""
    become_host()
    sock.setblocking(True)
    faulthandler.enable(2)
    sys.modules.setdefault("__main__", ModuleType("__main__"))  # AnyIO leaves none where the program has no file
    Host(sock).run()


class Host:
    """This process's side of the link."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self._pid = os.getpid()
        self._inbox: SimpleQueue[tuple[Work, bytes]] = SimpleQueue()
        self._answers: SimpleQueue[bool] = SimpleQueue()  # to items that were sent; False: the job is to end
        self._current: str | None = None
        self._asked: str | None = None
        self._reason: str | None = None
        self._context: DistantContext | None = None
        self._writer = Writer(self.send)

    def run(self) -> NoReturn:
        """Serve."""
        at_fork(before=self._sending.acquire, in_parent=self._sending.release, in_child=self._in_child)
        signal.signal(signal.SIGINT, _ignore)  # and not SIG_IGN, which a handler's subprocesses would inherit
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._writer.install()
        threading.Thread(target=self._listen, name="nursery-tasks link", daemon=True).start()
        while True:
            work, payload = self._inbox.get()
            self._do(work, payload)
            del work, payload  # not kept in memory until the next job comes

    def send(self, header: Header, body: bytes = b"") -> None:
        """Send one frame; from any thread. A worker that is gone is not an error: the guard is about to end this."""
        frame = pack(header, body)
        with self._sending, suppress(OSError):
            self._sock.sendall(frame)

    def is_forked(self) -> bool:
        """Say whether this is a child of the host, which must not speak for it."""
        return os.getpid() != self._pid

    def _do(self, work: Work, payload: bytes) -> None:
        self.send(Begun(work.id))
        self._writer.begin()
        context = None if work.broker is None or work.token is None else DistantContext(work.broker, work.token, self._wait)
        self._context = context
        if self._asked == work.id and context is not None:  # before there was a context to tell
            context.cancel_reason = self._reason
        job = CurrentJob(
            id=work.id,
            task=work.task,
            attempt=work.attempt,
            queue=work.queue,
            worker=work.worker,
            parent=work.parent,
            tags=work.tags,
            headers=work.headers,
            slot=work.slot,
            batch=work.batch,
            context=context,
            _report=lambda value: self._report(work, value),
            _check=lambda: self._check(work),
            items=DistantItems(lambda items: self._put(work, items)) if work.streams else None,
        )
        ended, body = perform(work, payload, job, lambda: self._asked == work.id)
        if self.is_forked():  # a handler forked, and its child came back here: not its job
            os._exit(0)
        self._writer.end()
        self._current = None
        self.send(msgspec.structs.replace(ended, memory_bytes=resident_bytes()), body)

    def _wait(self, begins: bool) -> None:
        if not self.is_forked():
            self.send(Waits(begins))

    def _report(self, work: Work, value: Any) -> None:
        encoded = msgspec.json.encode(value)
        if len(encoded) > MAX_PROGRESS_BYTES:
            raise PayloadTooLarge(f"the progress of {work.task}", len(encoded), MAX_PROGRESS_BYTES, fixed=True)
        if not self.is_forked():
            self.send(Progress(), encoded)

    def _put(self, work: Work, items: Sequence[Any]) -> None:
        """Send items to the worker, in parts that a frame can carry, and wait until they have left."""
        _, codec = find_task(work)
        body = codec.encode(f"the items of {work.task}", list(items))
        if len(body) > MAX_BODY and len(items) > 1:
            half = len(items) // 2
            self._put(work, items[:half])
            self._put(work, items[half:])
            return
        self._check(work)
        self.send(Items(), body)
        if not self._answers.get():
            self._asked = work.id
            self._check(work)

    def _check(self, work: Work) -> None:
        if self._asked == work.id:
            raise CancelRequested(f"{work.task} ({work.id}) is to end")

    def _listen(self) -> None:
        frames = FrameBuffer()
        with suppress(OSError):
            while piece := self._sock.recv(RECEIVE_BYTES):
                for header, body in frames.feed(piece):
                    match header:
                        case Work():
                            self._asked = None  # an earlier attempt of the same job may have been asked
                            self._answers = SimpleQueue()
                            self._current = header.id
                            self._inbox.put((header, body))
                        case Cancel(job_id, reason):
                            self._reason, self._asked = reason, job_id
                            if self._context is not None and self._current == job_id:
                                self._context.cancel_reason = reason
                            self._answers.put(False)
                        case Put(ok):
                            self._answers.put(ok)
                        case Setup():
                            self._writer.set_levels(header)
                        case _:
                            pass
        os.killpg(0, signal.SIGKILL)  # the worker is gone; the guard does the same, and this is sooner

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        """End, if the worker has asked for it; an init system that tells all processes to stop means the worker, not this."""
        if self._current is not None and self._asked == self._current:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    def _in_child(self) -> None:
        """Make a forked child an ordinary process: it must neither write into the link nor ignore signals."""
        self._sending = threading.Lock()
        with suppress(OSError):
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, self._sock.fileno())  # and not close(): the number could be given to something else
            os.close(null)
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._writer.forked()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Ignore a signal."""
