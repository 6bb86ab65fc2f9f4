"""What a caller asks of a model, independent of the dialect it is sent in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from llama_runner.core.jsonio import JsonValue
from llama_runner.core.text import visible_controls

# A tool that returns more has returned a file; half a million tokens fit no context.
MAX_RESULT_CHARS: Final = 1_000_000
# Enough to see what it wanted.
MAX_CALLS_SHOWN: Final = 3


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Image:
    """One encoded image file, passed on as it is: nothing here ever decodes it.

    Attributes:
        media_type: "image/png", "image/jpeg", ...
    """

    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call a model made; `arguments` is JSON text as it came, perhaps no valid JSON."""

    call_id: str | None
    name: str
    arguments: str


def cut_result(text: str) -> str:
    """A tool's result as it may be sent: what no context holds is left out, and said (T7)."""
    left = len(text) - MAX_RESULT_CHARS
    return text if left <= 0 else f"{text[:MAX_RESULT_CHARS]}\n[{left} more characters were left out]"


def calls_in_words(calls: tuple[ToolCall, ...]) -> str:
    """What a model called although nobody offered it tools, as one line of plain text (T1, T6, T8)."""
    if not calls:
        return ""
    shown = ", ".join(
        f"{visible_controls(call.name, 60)}({visible_controls(' '.join(call.arguments.split()), 120)})"
        for call in calls[:MAX_CALLS_SHOWN]
    )
    more = f" and {len(calls) - MAX_CALLS_SHOWN} more" if len(calls) > MAX_CALLS_SHOWN else ""
    return f"It called {shown}{more}, though no tools were offered: nothing was run."


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Attributes:
        reasoning: Sent back only with the tool calls it led to; templates drop it anywhere else.
        tool_calls: What the assistant called in this turn.
        tool_call_id: For `Role.TOOL`: the call that `content` is the result of.
        tool_name: For `Role.TOOL`: the function of that call.
    """

    role: Role
    content: str
    images: tuple[Image, ...] = ()
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool_name: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    Attributes:
        parameters: JSON schema of its arguments; passed through, never evaluated here (T10).
    """

    name: str
    description: str
    parameters: Mapping[str, JsonValue]


class ToolMode(StrEnum):
    """Whether tools may or must be called."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class ForcedTool:
    """This tool must be called."""

    name: str


ToolChoice = ToolMode | ForcedTool


@dataclass(frozen=True, slots=True)
class JsonOutput:
    """The answer is to be JSON.

    Attributes:
        schema: JSON schema it has to fit; None for any JSON object.
    """

    schema: Mapping[str, JsonValue] | None = None
    name: str = "answer"


class Effort(StrEnum):
    """How long a model may reason."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """What the caller asked for; None sends nothing and leaves the server's default.

    Attributes:
        thinking: Whether the model may reason before it answers.
        effort: How long it may, where the model knows levels; implies thinking.
        keep_alive_s: How long the model stays in memory afterwards; negative for ever, 0 not at all.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool | None = None
    cache_prompt: bool | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    thinking: bool | None = None
    effort: Effort | None = None
    keep_alive_s: float | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One streamed chat completion.

    Attributes:
        tool_choice: None leaves it to the server.
        output: None for free text.
        ask_usage: Whether token counts are asked for; False only for servers that reject the question.
    """

    model_id: str
    messages: tuple[Message, ...]
    options: SamplingOptions = SamplingOptions()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    output: JsonOutput | None = None
    ask_usage: bool = True
