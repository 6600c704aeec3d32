"""Do one job in another process or interpreter: find its function, convert its arguments, call it, describe how it ended.

Everything that can go wrong becomes data here, with the classes at hand that the worker may not have: the worker only passes
on what it gets.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

from ..current import CurrentJob
from ..errors import CancelRequested, FunctionNotFound, InvalidArguments, NotSerializable, PayloadTooLarge
from ..model.codec import Codec, Undecodable
from ..model.failure import describe_safely
from ..model.message import Message
from ..model.retry import Retry, RetryRule, asked_retry, told_by
from ..registry import TaskSpec, find_registered
from .in_process.frames import Ended, Failed, Left, Succeeded, Work
from .in_thread import call_plain
from .results import encode_result
from .shares import Share, packed_shares, share_out

MAIN = ("__main__", "__mp_main__")  # the program itself, and what it is called where AnyIO has imported it again


def perform(work: Work, payload: bytes, job: CurrentJob, is_asked: Callable[[], bool] = lambda: False) -> tuple[Ended, bytes]:
    """Run one job to its end.

    Args:
        payload: Its message, as it came from the broker.
        is_asked: Says whether the job has been asked to end.

    Returns:
        How it ended, and the encoded result.
    """
    codec = Codec()
    try:
        spec, codec = find_task(work)
        message = codec.decode_message(payload)
        args, kwargs = _arguments(spec, message, codec)
    except (InvalidArguments, Undecodable) as error:  # trying again would give the same
        return _failed(work, error, codec, final=True), b""
    except BaseException as error:
        return _failed(work, error, codec), b""
    try:
        value = copy_context().run(call_plain, spec.function, args, kwargs, job)
    except CancelRequested as error:
        return (Left(work.id) if is_asked() else _failed(work, error, codec)), b""
    except KeyboardInterrupt:  # this and the next: the same as from a thread
        return _failed(work, SystemError("the handler raised KeyboardInterrupt"), codec), b""
    except StopIteration as error:
        raised = RuntimeError("coroutine raised StopIteration")
        raised.__cause__ = error
        return _failed(work, raised, codec), b""
    except BaseException as error:
        return _failed(work, error, codec), b""
    try:
        if spec.batch is not None:
            return Succeeded(work.id), _shares(work, spec, value, codec)
        return Succeeded(work.id), encode_result(spec, value, codec, work.limit_bytes)
    except (NotSerializable, PayloadTooLarge) as error:
        return _failed(work, error, codec, final=True), b""
    except BaseException as error:
        return _failed(work, error, codec), b""


def _arguments(spec: TaskSpec, message: Message, codec: Codec) -> tuple[Sequence[Any], dict[str, Any]]:
    if spec.batch is None:
        return spec.signature.convert(message.args, message.kwargs, codec)
    [items] = message.args
    return [[spec.signature.convert([item], {}, codec)[0][0] for item in items]], {}


def _shares(work: Work, spec: TaskSpec, value: object, codec: Codec) -> bytes:
    """Share out what a batch task's function has returned. What of it cannot travel is the failure of its own job."""

    def share(result: object, rule: RetryRule | None) -> Share:
        if isinstance(result, Exception):
            return _failed(work, result, codec, rule=rule)
        try:
            return encode_result(spec, result, codec, work.limit_bytes)
        except (NotSerializable, PayloadTooLarge) as error:
            return _failed(work, error, codec, final=True)
        except BaseException as error:
            return _failed(work, error, codec, rule=rule)

    results = share_out(work.task, value, len(work.batch))
    return packed_shares(work.task, [share(*each) for each in zip(results, work.rules, strict=True)])


def find_task(work: Work) -> tuple[TaskSpec, Codec]:
    """Import the module of the task's function, and find the task that this has registered.

    Raises:
        FunctionNotFound: It is not there.
    """
    place = f"{work.module}.{work.qualname}"
    module = "__mp_main__" if work.module in MAIN else work.module
    if module not in sys.modules:
        try:
            importlib.import_module(module)
        except BaseException as error:
            raise FunctionNotFound(work.task, place, f"importing {module} raised {type(error).__name__}: {error}") from error
    found = find_registered(module, work.qualname, work.task)
    if found is None:
        raise FunctionNotFound(work.task, place, f"{work.module} registers no task with this function when it is imported")
    registry, spec = found
    return spec, registry.codec_for(work.form)


def _failed(work: Work, error: BaseException, codec: Codec, *, final: bool = False, rule: RetryRule | None = None) -> Failed:
    rule = rule or work.rule
    asked = asked_retry(error)
    last: Any = describe_safely(told_by(error), codec.plain) if isinstance(error, Retry) else None
    return Failed(
        id=work.id,
        failure=describe_safely(error, codec.plain),
        last=last,
        matches=rule is not None and rule.matches(error),
        asked=None if asked is None else asked.to_rule(),
        wait_given=asked is not None and asked.wait_given,
        final=final,
        matched=tuple(each is not None and each.matches(error) for each in work.rules),
    )
