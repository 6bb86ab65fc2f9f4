"""Chat requests in Ollama's own dialect. Pure; opens nothing."""

from collections.abc import Mapping
from typing import Final

from llama_runner.backends.encoding import (
    THINKING_OPTIONS,
    Part,
    base64_of,
    joined,
    paired,
    sampling_part,
    tool_definitions,
    usable_images,
)
from llama_runner.backends.request import (
    ChatRequest,
    JsonOutput,
    Message,
    Role,
    SamplingOptions,
    ToolCall,
    ToolMode,
)
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json

_OPTIONS: Final[Mapping[str, str]] = {
    name: name
    for name in (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "stop",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
    )
} | {"max_tokens": "num_predict"}
# What models call with is a page at most; anything longer is no arguments.
_MAX_ARGUMENT_BYTES: Final = 1024 * 1024


def chat_part(request: ChatRequest) -> Part:
    """The whole body but for `stream`."""
    options = sampling_part(request.options, _OPTIONS, apart=(*THINKING_OPTIONS, "keep_alive_s"))
    return joined(
        Part({"model": request.model_id}),
        _messages_part(request.messages),
        Part({"options": dict(options.fields)} if options.fields else {}, options.not_sent),
        _thinking_part(request.options),
        _keep_alive_part(request.options),
        _tools_part(request),
        _output_part(request.output),
    )


def _messages_part(messages: tuple[Message, ...]) -> Part:
    calls = [call for message in messages for call in message.tool_calls]
    not_sent = []
    if any(message.images != usable_images(message, None) for message in messages):
        not_sent.append("images")
    if any(_arguments(call) is None for call in calls):
        not_sent.append("tool_calls")
    said: list[JsonValue] = [_message(message) for message in paired(messages)]
    return Part({"messages": said}, tuple(not_sent))


def _message(message: Message) -> dict[str, JsonValue]:
    said: dict[str, JsonValue] = {"role": str(message.role), "content": message.content}
    if images := usable_images(message, None):
        said["images"] = [base64_of(image) for image in images]
    if message.tool_calls:
        said["tool_calls"] = [_call(call) for call in message.tool_calls]
        if message.reasoning:
            said["thinking"] = message.reasoning
    if message.role is Role.TOOL:
        names = {"tool_name": message.tool_name, "tool_call_id": message.tool_call_id}
        said.update({key: value for key, value in names.items() if value is not None})
    return said


def _call(call: ToolCall) -> dict[str, JsonValue]:
    return {"id": call.call_id, "function": {"name": call.name, "arguments": _arguments(call) or {}}}


def _arguments(call: ToolCall) -> dict[str, JsonValue] | None:
    """The arguments as the object that Ollama wants; None when the model wrote something else."""
    try:
        arguments = parse_json(call.arguments.encode("utf-8", "replace"), max_bytes=_MAX_ARGUMENT_BYTES)
    except JsonRejected:
        return None
    return arguments if isinstance(arguments, dict) else None


def _thinking_part(options: SamplingOptions) -> Part:
    """`think`: on, off, or how long."""
    if options.thinking is False:
        return Part({"think": False}, ("effort",) if options.effort is not None else ())
    if options.effort is not None:
        return Part({"think": str(options.effort)})
    return Part({"think": True} if options.thinking else {})


def _keep_alive_part(options: SamplingOptions) -> Part:
    return Part({} if options.keep_alive_s is None else {"keep_alive": options.keep_alive_s})


def _tools_part(request: ChatRequest) -> Part:
    """The tools. Ollama has no choice: none means no tools, and nothing can be forced."""
    if not request.tools or request.tool_choice is ToolMode.NONE:
        return Part()
    free = request.tool_choice in (None, ToolMode.AUTO)
    return Part({"tools": tool_definitions(request.tools)}, () if free else ("tool_choice",))


def _output_part(output: JsonOutput | None) -> Part:
    if output is None:
        return Part()
    return Part({"format": "json" if output.schema is None else dict(output.schema)})
