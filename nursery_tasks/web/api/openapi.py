"""`/openapi.json`: all that can be asked for, made of the operations and of the signatures of the registered tasks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from starlette.responses import Response

from ... import __version__
from ...registry import TaskSpec
from ..bodies import JSON
from ..call import Call
from ..operations import FOR_ALL, Operation
from ..outcomes import json_response
from ..problems import MEDIA_TYPE
from ..settings import DoorSettings
from .given import GivenOptions

REF: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_TYPES: Final = {str: "string", int: "integer", bool: "boolean"}
_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "What to branch on: urn:nursery-tasks:..."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string", "description": "What of the request is wrong"},
        "job": {"type": "string"},
        "error": {"type": "object", "description": "How the job has failed: type, message"},
    },
}


async def show_document(operations: Sequence[Operation], call: Call) -> Response:
    """Show the document."""
    tasks = [spec for spec in call.app.registry.tasks.values() if call.caller.may_use(spec.options.queue)]
    root = call.request.scope.get("root_path", "")
    return json_response(document_of(operations, tasks, call.door.settings, root))


def document_of(
    operations: Sequence[Operation], tasks: Iterable[TaskSpec], settings: DoorSettings, root: str = ""
) -> dict[str, Any]:
    """Make the document."""
    bodies = [operation.body for operation in operations if operation.body not in (None, object)]
    schemas_of, components = msgspec.json.schema_components([*bodies, GivenOptions], ref_template=REF)
    schemas = dict(zip((*bodies, GivenOptions), schemas_of, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, schemas.get(operation.body, {}))
    submit = next(operation for operation in operations if operation.name == "submit")
    for spec in tasks:
        made = _operation(submit, _task_body(spec, schemas[GivenOptions]))
        made["parameters"] = [one for one in made["parameters"] if one["in"] != "path"]
        made |= {"operationId": f"submit {spec.name}", "summary": spec.doc or f"Submit {spec.name}{spec.signature}"}
        paths[f"/tasks/{spec.name}"] = {"post": made}
    return {
        "openapi": "3.1.0",
        "info": {"title": "nursery-tasks", "version": __version__},
        "servers": [{"url": root or "/"}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        **({} if settings.is_open else {"security": [{"token": []}]}),
    }


def _operation(operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
    parameters = [_parameter("path", name, str) for name in _PARAMETER.findall(operation.path)]
    parameters += [_parameter("query", name, kind) for name, kind in operation.query]
    if operation.waits:
        parameters.append(_parameter("header", "Prefer", str, "wait=5: for how many seconds"))
    if operation.verb in ("submit", "send"):
        parameters.append(_parameter("header", "Idempotency-Key", str, "The same key is the same job"))
    made: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            **{str(status): _answer(operation, status, text) for status, text in operation.answers},
            "default": {
                "description": "A problem",
                "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}},
            },
        },
    }
    contents: dict[str, dict[str, Any]] = {media_type: {} for media_type in operation.media_types}
    if operation.body is not None:
        contents[JSON] = {"schema": body}
    if contents:
        made["requestBody"] = {"content": contents, "required": bool(operation.media_types)}
    if operation.path in FOR_ALL:
        made["security"] = []
    return made


def _answer(operation: Operation, status: int, text: str) -> dict[str, Any]:
    return {"description": text, **({} if status == 204 else {"content": {one: {} for one in operation.answer_types}})}


def _parameter(place: str, name: str, kind: type, text: str = "") -> dict[str, Any]:
    parameter: dict[str, Any] = {"in": place, "name": name, "required": place == "path", "schema": {"type": _TYPES[kind]}}
    if text:
        parameter["description"] = text
    return parameter


def _task_body(spec: TaskSpec, options: dict[str, Any]) -> dict[str, Any]:
    """Describe what one task takes: what it may get by place, and by name."""
    signature = spec.signature
    given = [signature.signature.parameters[name] for name in signature.parameters]
    placed = [one for one in given if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    named = [one for one in given if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)]
    args: dict[str, Any] = {"type": "array", "prefixItems": [_schema(spec, one) for one in placed]}
    kwargs: dict[str, Any] = {"type": "object", "properties": {one.name: _schema(spec, one) for one in named}}
    kinds = {one.kind for one in given}
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        args["maxItems"] = len(placed)
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        kwargs["additionalProperties"] = False
    properties = {"args": args, "kwargs": kwargs, "options": options}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _schema(spec: TaskSpec, parameter: inspect.Parameter) -> dict[str, Any]:
    """Describe one parameter; one that only the app's own codec understands may be anything."""
    try:
        schema: dict[str, Any] = msgspec.json.schema(spec.signature.wanted(parameter.name))
    except TypeError:
        return {}
    return schema if "$defs" not in schema else {"type": "object"}


def operation_for(operations: Sequence[Operation]) -> Operation:
    """Return the operation that shows the document of others."""
    show = partial(show_document, operations)
    return Operation("GET", "/openapi.json", "read", "openapi", "Show this document", show)
