"""A chat's answer in the words of Anthropic's Messages.

Source: platform.claude.com/docs/en/build-with-claude/streaming and the types of the `anthropic` package 2.11.
"""

from typing import Final

from llama_runner.backends.values import as_object
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.jsonio import JsonRejected, JsonValue, dump_json, parse_json
from llama_runner.proxy.anthropic_errors import error_document
from llama_runner.proxy.blocks import Block, BlockWriter, Kind, named_event

_REASONS: Final = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
# How each kind of block grows: the type of the step, and its field.
_STEPS: Final = {
    Kind.TEXT: ("text_delta", "text"),
    Kind.THOUGHT: ("thinking_delta", "thinking"),
    Kind.CALL: ("input_json_delta", "partial_json"),
}
# More than any call has; what a model wrote beyond it was cut where it was read.
_MAX_ARGUMENT_BYTES: Final = 16 * 1024 * 1024


class MessagesWriter(BlockWriter):
    """One answer of `/v1/messages`."""

    def broken(self, error: LlamaRunnerError) -> bytes:
        """An error event, and no end after it."""
        told = b"event: error\ndata: " + dump_json(error_document(error)) + b"\n\n"
        return told if self.streamed else b""

    def begun(self) -> bytes:
        """The message, still empty; what the prompt took is known at its end only."""
        counts: JsonValue = {"input_tokens": 0, "output_tokens": 0}
        message: JsonValue = {**self._message([]), "stop_reason": None, "usage": counts}
        return named_event({"type": "message_start", "message": message})

    def opened(self, block: Block) -> bytes:
        """A block with nothing in it."""
        empty = Block(block.kind, block.place, block.key, block.index, block.call_id, block.name)
        fields: dict[str, JsonValue] = {"index": block.place, "content_block": _told(empty)}
        return named_event({"type": "content_block_start", **fields})

    def grown(self, block: Block, piece: str) -> bytes:
        """What came of it."""
        kind, name = _STEPS[block.kind]
        fields: dict[str, JsonValue] = {"index": block.place, "delta": {"type": kind, name: piece}}
        return named_event({"type": "content_block_delta", **fields})

    def shut(self, block: Block) -> bytes:
        """Its end."""
        return named_event({"type": "content_block_stop", "index": block.place})

    def ended(self, reason: str | None) -> bytes:
        """Why, with the counts, and the end."""
        delta: JsonValue = {"stop_reason": self._reason(reason), "stop_sequence": None}
        told = named_event({"type": "message_delta", "delta": delta, "usage": self._counts()})
        return told + named_event({"type": "message_stop"})

    def whole(self, reason: str | None) -> JsonValue:
        """The message."""
        content: list[JsonValue] = [_told(block) for block in self.blocks]
        return {**self._message(content), "stop_reason": self._reason(reason), "usage": self._counts()}

    def _message(self, content: list[JsonValue]) -> dict[str, JsonValue]:
        return {
            "id": f"msg_{self.answer_key}",
            "type": "message",
            "role": "assistant",
            "model": self.model_id,
            "content": content,
            "stop_sequence": None,
        }

    def _reason(self, reason: str | None) -> str:
        if any(block.kind is Kind.CALL for block in self.blocks):
            return "tool_use"
        return _REASONS.get(reason or "", "end_turn")

    def _counts(self) -> JsonValue:
        """What was read from the cache is counted apart here."""
        cached = self.usage.cached_tokens or 0
        return {
            "input_tokens": max(0, (self.usage.prompt_tokens or 0) - cached),
            "cache_read_input_tokens": cached,
            "output_tokens": self.usage.output_tokens or 0,
        }


def _told(block: Block) -> JsonValue:
    match block.kind:
        case Kind.TEXT:
            return {"type": "text", "text": block.text}
        case Kind.THOUGHT:
            # Nobody signs it: only the service itself could.
            return {"type": "thinking", "thinking": block.text, "signature": ""}
        case Kind.CALL:
            named: dict[str, JsonValue] = {"id": block.call_id, "name": block.name}
            return {"type": "tool_use", **named, "input": _input(block.text)}


def _input(arguments: str) -> JsonValue:
    """An object; arguments that are none are kept as a text in one."""
    if not arguments:
        return {}
    try:
        value = parse_json(arguments.encode("utf-8", "replace"), max_bytes=_MAX_ARGUMENT_BYTES)
    except JsonRejected:
        return {"arguments": arguments}
    return dict(as_object(value)) if isinstance(value, dict) else {"arguments": value}
