"""What a llama-server would not hold an answer to, said so that it does (observed on b10434).

It holds JSON to a schema only, and takes a choice of tools that is an object for "auto", in every dialect.
"""

import re
from collections.abc import Mapping
from typing import Final

from llama_runner.backends.encoding import json_held
from llama_runner.backends.values import as_list, as_object
from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue, dump_compact, parse_json
from llama_runner.core.text import visible_controls
from llama_runner.proxy.bodies import MAX_BODY_BYTES

# A body with neither goes on unread. A quote in somebody's text stands behind a backslash: no field.
_CONCERNED: Final = re.compile(rb'"json_object"|"tool_choice":\s*\{')


def held(body: bytes) -> bytes:
    """A request's body, which this program wrote, in words that count; read only where it may need others.

    Raises InvalidRequestError for a tool that must be called and is not there.
    """
    if _CONCERNED.search(body) is None:
        return body
    document = parse_json(body, max_bytes=2 * MAX_BODY_BYTES, allow_nonfinite=True)
    return dump_compact({**json_held(_chosen(document))}) if isinstance(document, dict) else body


def _chosen(document: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """A tool that must be called is the only one, and one is required; none to be called, none are there."""
    choice = document.get("tool_choice")
    if not isinstance(choice, dict):
        return document
    kind = choice.get("type")
    if kind == "none":
        return {name: value for name, value in document.items() if name not in ("tools", "tool_choice")}
    wanted = _name(choice)
    if wanted is None:
        return document
    only = [tool for tool in as_list(document.get("tools")) if _name(as_object(tool)) == wanted]
    if not only:
        told = visible_controls(str(wanted), 100)
        raise InvalidRequestError(
            f"tool_choice names {told}, which is not one of the tools.", "Add it to tools."
        )
    # Anthropic's choices stay objects.
    required: JsonValue = {"type": "any"} if kind == "tool" else "required"
    return {**document, "tools": only, "tool_choice": required}


def _name(named: Mapping[str, JsonValue]) -> JsonValue:
    """Of a choice or a tool: beside its type, or within the function."""
    return named.get("name") or as_object(named.get("function")).get("name")
