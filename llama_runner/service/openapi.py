"""The OpenAPI 3.1 document of the control API, made from the table of its endpoints. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from llama_runner import __version__
from llama_runner.control.settings import SettingsChange
from llama_runner.control.values import API_PREFIX, adapter_of
from llama_runner.service.endpoints import Endpoint, Query

_PARTS: Final = re.compile(r"{(\w+)}")
_INTRODUCTION: Final = """Everything the window and the commands do with models on this machine.

The token is in the service's run file, readable by its user only. A browser gets a cookie instead: a program
with the token asks `POST /api/v1/login-links` for a link, which works once. Errors are sentences: `message`
says what happened, `hint` what to do next."""
_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["kind", "message", "hint"],
            "properties": {
                "kind": {"type": "string"},
                "message": {"type": "string", "description": "What happened, one sentence."},
                "hint": {"type": "string", "description": "What to do next, one sentence or empty."},
            },
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}


def openapi_document(
    endpoints: Iterable[Endpoint],
    sockets: Mapping[str, tuple[str, type[Any]]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The document.

    Args:
        settings: What each setting takes, by dotted name.
        sockets: Path of each WebSocket, with what it is for and the type of its messages.
    """
    endpoints = tuple(endpoints)
    schemas, components = _schemas(endpoints, (message for _, message in sockets.values()))
    change = components[SettingsChange.__name__]["properties"]["changes"]
    change |= {"properties": dict(settings), "additionalProperties": False}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, schemas)
        paths.setdefault(API_PREFIX + endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Llama Runner control API", "version": __version__, "description": _INTRODUCTION},
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"cookie": []}],
        "paths": paths,
        # OpenAPI has no words for these.
        "x-websockets": {
            API_PREFIX + path: {"summary": summary, "messages": schemas[message, "serialization"]}
            for path, (summary, message) in sockets.items()
        },
        "components": {
            "schemas": {"Error": _ERROR, **components},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "llama-runner-PORT"},
            },
        },
    }


_Schemas = Mapping[tuple[Any, JsonSchemaMode], dict[str, Any]]


def _schemas(
    endpoints: tuple[Endpoint, ...], messages: Iterable[type[Any]]
) -> tuple[_Schemas, dict[str, Any]]:
    """The schema of each type as it is sent and received, and what they refer to."""
    wanted: list[tuple[Any, JsonSchemaMode]] = [(message, "serialization") for message in messages]
    for endpoint in endpoints:
        wanted += [(endpoint.body, "validation")] if endpoint.body is not None else []
        wanted += [(endpoint.answer, "serialization")] if _is_json(endpoint) and endpoint.answer else []
    found, definitions = TypeAdapter.json_schemas(
        [(kind, mode, adapter_of(kind)) for kind, mode in dict.fromkeys(wanted)],
        ref_template="#/components/schemas/{model}",
    )
    components = definitions.get("$defs", {})
    for schema in components.values():
        _close(schema)
    return found, components


def _close(schema: dict[str, Any]) -> None:
    """Say what is true of every value of this version: nothing but what is listed comes, or is taken."""
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)


def _is_json(endpoint: Endpoint) -> bool:
    return endpoint.answer is not None and endpoint.answer is not str


def _operation(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "parameters": [*map(_path_parameter, _PARTS.findall(endpoint.path)), *map(_query, endpoint.query)],
        "responses": {
            str(_status(endpoint)): _success(endpoint, schemas),
            "default": _content("What went wrong.", {"$ref": "#/components/schemas/Error"}),
        },
    }
    if endpoint.body is not None:
        body = {"application/json": {"schema": schemas[endpoint.body, "validation"]}}
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"\w+", endpoint.path)
    return "_".join((endpoint.method.lower(), *words)).replace("-", "_")


def _status(endpoint: Endpoint) -> int:
    return 204 if endpoint.answer is None and endpoint.status == 200 else endpoint.status


def _success(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    if endpoint.answer is None:
        return {"description": "Done."}
    if not _is_json(endpoint):
        return {"description": "It lasts.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return _content("Done.", schemas[endpoint.answer, "serialization"])


def _content(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query(query: Query) -> dict[str, Any]:
    kind = "integer" if query.whole else "number"
    schema = {"type": kind, "minimum": 0, "maximum": query.maximum}
    return {
        "name": query.name,
        "in": "query",
        "required": False,
        "description": query.help,
        "schema": schema,
    }
