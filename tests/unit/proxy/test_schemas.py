import pytest

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy import fields
from llama_runner.proxy.host import OfferedModel
from llama_runner.proxy.ollama_requests import chat_body
from llama_runner.proxy.schemas import bounded, is_simple

UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
MODEL = OfferedModel("m", "d" * 64, 1, 0.0, capabilities=("completion", "tools"))
# Each kept a real engine busy for more than six seconds, or for ever.
BOMBS: tuple[JsonValue, ...] = (
    {"enum": [f"value {place}" for place in range(2000)]},
    {"type": "object", "properties": {f"p{place}": {"type": "string"} for place in range(3000)}},
    {"anyOf": [{"anyOf": [{"anyOf": [{"enum": ["x"] * 12}] * 12}] * 12}] * 12},
)


def wrapped(schema: JsonValue) -> JsonValue:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


@pytest.mark.parametrize(
    "pattern", [UUID, r"^\d{4}-\d{2}-\d{2}$", "^[a-z]+$", "^(red|green|blue)$", "^#[0-9a-fA-F]{6}$", ""]
)
def test_patterns_that_people_write_go_on(pattern: str) -> None:
    schema: JsonValue = {"type": "string", "pattern": pattern}
    assert bounded(schema) == schema


@pytest.mark.parametrize(
    "pattern",
    ["(a|b)?" * 100, "^(a?){1,30}$", "(((a?){1,30}){1,30}){1,30}", "a?" * 20, "x" * 300, "(a+)+$", "a|" * 20],
)
def test_patterns_that_hang_an_engine_are_left_out(pattern: str) -> None:
    """H18: what the model writes is then not held to it; nobody else waits for it."""
    assert not is_simple(pattern)
    schema: JsonValue = {"type": "array", "items": {"type": "string", "pattern": pattern}}
    assert bounded(schema) == {"type": "array", "items": {"type": "string"}}


def test_a_property_called_pattern_is_none() -> None:
    schema: JsonValue = {"properties": {"pattern": {"type": "string"}}, "required": ["pattern"]}
    assert bounded(schema) == schema


@pytest.mark.parametrize("schema", BOMBS)
def test_more_choices_than_an_engine_can_weigh_are_refused_wherever_they_stand(schema: JsonValue) -> None:
    """H18: in every field of which the engine makes a grammar, in every dialect."""
    tools: JsonValue = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    flat: JsonValue = [{"name": "f", "input_schema": schema, "parameters": schema}]
    for document, allowed in (
        ({"response_format": wrapped(schema)}, fields.CHAT),
        ({"json_schema": schema}, fields.CHAT),
        ({"json_schema": schema}, fields.COMPLETION),
        ({"tools": tools}, fields.CHAT),
        ({"tools": flat}, fields.RESPONSES),
        ({"tools": flat}, fields.MESSAGES),
        ({"text": {"format": schema}}, fields.RESPONSES),
    ):
        with pytest.raises(InvalidRequestError, match="too many choices"):
            fields.allowed(document, allowed)
    for more in ({"format": schema}, {"tools": tools}):
        with pytest.raises(InvalidRequestError, match="too many choices"):
            chat_body({"messages": [{"role": "user", "content": "x"}], **more}, MODEL)


def test_an_agents_many_tools_go_on_untouched() -> None:
    parameters: JsonValue = {
        "type": "object",
        "properties": {f"p{place}": {"type": "string", "description": "d"} for place in range(20)},
        "required": ["p0"],
    }
    tools: JsonValue = [
        {"type": "function", "function": {"name": f"f{place}", "parameters": parameters}}
        for place in range(200)
    ]
    assert fields.allowed({"tools": tools}, fields.CHAT) == {"tools": tools}
