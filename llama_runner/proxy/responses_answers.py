"""A chat's answer in the words of OpenAI's Responses.

Source: platform.openai.com/docs/api-reference/responses-streaming and the types of the `openai` package 3.52.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llama_runner.core.clock import Clock
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.proxy.answers import SseThrough
from llama_runner.proxy.blocks import Block, BlockWriter, Kind, named_event
from llama_runner.proxy.openai_errors import error_document

# Why an answer is not complete.
_CUT: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_PREFIXES: Final = {Kind.TEXT: "msg", Kind.THOUGHT: "rs", Kind.CALL: "fc"}
_PARTS: Final = {Kind.TEXT: "output_text", Kind.THOUGHT: "reasoning_text"}
# What of the request an answer repeats, and what it says where nothing was asked for.
_REPEATED: Final[Mapping[str, JsonValue]] = {
    "instructions": None,
    "max_output_tokens": None,
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
}


@dataclass(slots=True)
class ResponsesThrough(SseThrough):
    """A server's own events as they are; an answer that was cut, or failed, has ended too."""

    def _look(self, pieces: bytes) -> None:
        # A quote in a model's text stands behind a backslash.
        if any(b'"response.' + end + b'"' in pieces for end in (b"incomplete", b"failed")):
            self._ended = True
        # Not super(): a class with slots is made anew by its decorator, and is another one then.
        SseThrough._look(self, pieces)


class ResponsesWriter(BlockWriter):
    """One answer of `/v1/responses`.

    Args:
        document: The request, of which the answer repeats some.
    """

    def __init__(
        self, model_id: str, document: Mapping[str, JsonValue], *, streamed: bool, clock: Clock
    ) -> None:
        super().__init__(model_id, streamed=streamed, clock=clock)
        self._created_s = int(clock.utc().timestamp())
        self._asked = {name: document.get(name, usual) for name, usual in _REPEATED.items()}
        self._number = 0

    def broken(self, error: LlamaRunnerError) -> bytes:
        """An error event, and no end after it."""
        return b"data: " + dump_json(error_document(error)) + b"\n\n" if self.streamed else b""

    def begun(self) -> bytes:
        """The response, still empty."""
        empty = self._response("in_progress", [])
        return self._event("response.created", response=empty) + self._event(
            "response.in_progress", response=empty
        )

    def opened(self, block: Block) -> bytes:
        """An item, and the only part it will have; a call has none."""
        item = _item(block, "in_progress", with_content=False)
        told = self._event("response.output_item.added", output_index=block.place, item=item)
        if block.kind is Kind.CALL:
            return told
        return told + self._of_part("response.content_part.added", block, part=_part(block))

    def grown(self, block: Block, piece: str) -> bytes:
        """What came of it."""
        if block.kind is Kind.CALL:
            return self._of_item("response.function_call_arguments.delta", block, delta=piece)
        return self._of_part(f"response.{_PARTS[block.kind]}.delta", block, delta=piece, **_extra(block))

    def shut(self, block: Block) -> bytes:
        """All of it again, part by part."""
        if block.kind is Kind.CALL:
            whole: dict[str, JsonValue] = {"name": block.name, "arguments": block.text}
            told = self._of_item("response.function_call_arguments.done", block, **whole)
        else:
            text: dict[str, JsonValue] = {"text": block.text, **_extra(block)}
            told = self._of_part(f"response.{_PARTS[block.kind]}.done", block, **text)
            told += self._of_part("response.content_part.done", block, part=_part(block))
        item = _item(block, "completed")
        return told + self._event("response.output_item.done", output_index=block.place, item=item)

    def ended(self, reason: str | None) -> bytes:
        """The whole response; one that was cut ends under another name."""
        name = "response.incomplete" if reason in _CUT else "response.completed"
        return self._event(name, response=self.whole(reason))

    def whole(self, reason: str | None) -> JsonValue:
        """The response."""
        output: list[JsonValue] = [_item(block, "completed") for block in self.blocks]
        response = self._response("incomplete" if reason in _CUT else "completed", output)
        if reason in _CUT:
            response["incomplete_details"] = {"reason": _CUT[reason]}
        return {**response, "usage": self._counts()}

    def _response(self, status: str, output: list[JsonValue]) -> dict[str, JsonValue]:
        return {
            "id": f"resp_{self.answer_key}",
            "object": "response",
            "created_at": self._created_s,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "metadata": {},
            "model": self.model_id,
            "output": output,
            "previous_response_id": None,
            "store": False,
            **self._asked,
            "usage": None,
        }

    def _counts(self) -> JsonValue:
        prompt, output = self.usage.prompt_tokens or 0, self.usage.output_tokens or 0
        cached: JsonValue = {"cached_tokens": self.usage.cached_tokens or 0, "cache_write_tokens": 0}
        return {
            "input_tokens": prompt,
            "input_tokens_details": cached,
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": self.usage.reasoning_tokens or 0},
            "total_tokens": prompt + output,
        }

    def _of_part(self, name: str, block: Block, /, **more: JsonValue) -> bytes:
        return self._of_item(name, block, content_index=0, **more)

    def _of_item(self, name: str, block: Block, /, **more: JsonValue) -> bytes:
        return self._event(name, item_id=_id(block), output_index=block.place, **more)

    def _event(self, name: str, /, **more: JsonValue) -> bytes:
        self._number += 1
        return named_event({"type": name, "sequence_number": self._number - 1, **more})


def _id(block: Block) -> str:
    return f"{_PREFIXES[block.kind]}_{block.key}"


def _extra(block: Block) -> dict[str, JsonValue]:
    """What a text has besides."""
    return {"logprobs": []} if block.kind is Kind.TEXT else {}


def _part(block: Block) -> dict[str, JsonValue]:
    more: dict[str, JsonValue] = {"annotations": [], "logprobs": []} if block.kind is Kind.TEXT else {}
    return {"type": _PARTS[block.kind], "text": block.text, **more}


def _item(block: Block, status: str, *, with_content: bool = True) -> JsonValue:
    same: dict[str, JsonValue] = {"id": _id(block), "status": status}
    if block.kind is Kind.CALL:
        named = {"call_id": block.call_id, "name": block.name, "arguments": block.text}
        return {"type": "function_call", **same, **named}
    content: list[JsonValue] = [_part(block)] if with_content else []
    if block.kind is Kind.THOUGHT:
        return {"type": "reasoning", **same, "summary": [], "content": content}
    return {"type": "message", **same, "role": "assistant", "content": content}
