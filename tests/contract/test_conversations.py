"""What every server makes of a conversation with calls, results and tools in it."""

from contextlib import aclosing
from dataclasses import replace

from llama_runner.backends.base import Backend
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.request import ChatRequest, Message, Role, Tool, ToolCall, ToolMode
from llama_runner.core.jsonio import JsonValue
from tests.contract.servers import Server

ZONE: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"zone": {"type": "string"}},
    "required": ["zone"],
}
CLOCK = Tool("clock", "Tells the time of a zone.", ZONE)
TURNS = (
    Message(Role.SYSTEM, "Be brief."),
    Message(Role.USER, "What time is it in UTC and in Rome?"),
    Message(
        Role.ASSISTANT,
        "I look.",
        reasoning="Two zones.",
        tool_calls=(ToolCall("a", "clock", '{"zone": "UTC"}'), ToolCall(None, "clock", '{"zone": "Rome"}')),
    ),
    Message(Role.TOOL, "12:00", tool_call_id="a", tool_name="clock"),
    Message(Role.TOOL, "13:00", tool_name="clock"),
    Message(Role.ASSISTANT, "Noon, and one."),
    Message(Role.USER, "Thanks. And now?"),
)


async def answer_to(backend: Backend, request: ChatRequest) -> AnswerFold:
    fold = AnswerFold()
    async with aclosing(backend.stream(request)) as stream:
        async for event in stream:
            fold.add(event)
    return fold


async def test_a_conversation_with_calls_and_their_results_is_answered(
    backend: Backend, server: Server
) -> None:
    request = replace(server.request(max_tokens=3), messages=TURNS, tools=(CLOCK,), tool_choice=ToolMode.AUTO)
    snapshot = (await answer_to(backend, request)).snapshot()
    assert snapshot.finished
    assert snapshot.n_events > 0


async def test_tools_that_must_not_be_called_are_not(backend: Backend, server: Server) -> None:
    request = replace(server.request(max_tokens=3), tools=(CLOCK,), tool_choice=ToolMode.NONE)
    snapshot = (await answer_to(backend, request)).snapshot()
    assert snapshot.finished and not snapshot.tool_calls
