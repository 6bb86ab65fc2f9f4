"""A chat's answer as a row of blocks, thoughts, texts and calls, for dialects whose answers are made of them.

Sans-I/O: the engine's stream in, the client's events or one object out.
"""

import secrets
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from llama_runner.backends.events import (
    Finished,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    TextWasReasoning,
    ToolCallDelta,
    UsageReport,
)
from llama_runner.backends.fold import MAX_NAME_CHARS, MAX_TOOL_CALLS
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.core.clock import Clock
from llama_runner.core.errors import LlamaRunnerError, ProtocolError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.trace import Usage
from llama_runner.proxy.answers import SSE_PING


class Kind(Enum):
    """What a block is."""

    TEXT = auto()
    THOUGHT = auto()
    CALL = auto()


@dataclass(slots=True)
class Block:
    """One of them.

    Attributes:
        place: In the answer, from 0.
        key: Tells it from others, without the prefix that a dialect gives it.
        index: For a call: its number in the chat.
        call_id: For a call: as the engine called it.
        name: For a call: of the function.
    """

    kind: Kind
    place: int
    key: str
    index: int = 0
    call_id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it so far: a text, a thought, or a call's arguments."""
        return "".join(self.pieces)


class BlockWriter:
    """An `AnswerWriter` that tells blocks; a dialect says what each step is in its words.

    Attributes:
        answer_key: Tells the answer from others, without the prefix that a dialect gives it.
        blocks: In the order they came; each ends before the next begins.
        usage: Known when the answer has ended.
    """

    def __init__(self, model_id: str, *, streamed: bool, clock: Clock) -> None:
        self.content_type = "text/event-stream" if streamed else "application/json"
        self.model_id: Final = model_id
        self.streamed: Final = streamed
        self.answer_key: Final = secrets.token_hex(12)
        self.blocks: list[Block] = []
        self.usage = Usage()
        self._decoder = OpenAIDecoder(model_id)
        self._clock = clock
        self._begun = False
        self._calls: dict[int, Block] = {}

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes. Raises ServerError."""
        return self._told(self._decoder.feed(self._clock.now_ns(), data))

    def end(self) -> bytes:
        """The last event, or the whole object. Raises ServerError when the answer is not complete."""
        return self._told(self._decoder.close(self._clock.now_ns()))

    def broken(self, error: LlamaRunnerError) -> bytes:
        """An error event ends the stream."""
        raise NotImplementedError

    def ping(self) -> bytes:
        """A bare comment."""
        return SSE_PING if self.streamed else b""

    # --- what a dialect says; nothing of it where the answer is one object ---

    def begun(self) -> bytes:
        """The answer begins."""
        raise NotImplementedError

    def opened(self, block: Block) -> bytes:
        """A block begins."""
        raise NotImplementedError

    def grown(self, block: Block, piece: str) -> bytes:
        """A block has more in it."""
        raise NotImplementedError

    def shut(self, block: Block) -> bytes:
        """A block is whole."""
        raise NotImplementedError

    def ended(self, reason: str | None) -> bytes:
        """The answer is whole; OpenAI's word for why it ended."""
        raise NotImplementedError

    def whole(self, reason: str | None) -> JsonValue:
        """The answer as one object."""
        raise NotImplementedError

    # --- within ---

    def _told(self, events: list[StreamEvent]) -> bytes:
        out = b"".join(self._one(event) for event in events)
        if self._decoder.failure is not None:
            raise self._decoder.failure
        return out

    def _one(self, event: StreamEvent) -> bytes:
        match event:
            case TextDelta(text=text):
                return self._grow(Kind.TEXT, text)
            case ReasoningDelta(text=text):
                return self._grow(Kind.THOUGHT, text)
            case ToolCallDelta():
                return self._call(event)
            case UsageReport(usage=usage):
                self.usage = usage
            case TextWasReasoning() if not self.streamed:
                for block in self.blocks:
                    block.kind = Kind.THOUGHT if block.kind is Kind.TEXT else block.kind
            case Finished(reason=reason):
                if not self.streamed:
                    return dump_json(self.whole(reason))
                return self._begin() + self._shut_last() + self.ended(reason)
        return b""

    def _begin(self) -> bytes:
        if self._begun or not self.streamed:
            return b""
        self._begun = True
        return self.begun()

    def _grow(self, kind: Kind, piece: str) -> bytes:
        out = b""
        if not self.blocks or self.blocks[-1].kind is not kind:
            out = self._open(Block(kind, len(self.blocks), secrets.token_hex(12)))
        return out + self._append(self.blocks[-1], piece)

    def _call(self, event: ToolCallDelta) -> bytes:
        block, out = self._calls.get(event.index), b""
        if block is None:
            if len(self._calls) >= MAX_TOOL_CALLS:
                # T4: as where answers are shown, what comes beyond is not kept.
                return b""
            key = secrets.token_hex(12)
            call_id = event.call_id or f"call_{key}"
            name = (event.name or "")[:MAX_NAME_CHARS]
            block = Block(Kind.CALL, len(self.blocks), key, event.index, call_id, name)
            self._calls[event.index] = block
            out = self._open(block)
        elif self.streamed and block is not self.blocks[-1]:
            raise ProtocolError(self.model_id, "it goes on with a call after the next one began")
        else:
            block.name = (block.name + (event.name or ""))[:MAX_NAME_CHARS]
        return out + self._append(block, event.arguments)

    def _open(self, block: Block) -> bytes:
        out = self._begin() + self._shut_last()
        self.blocks.append(block)
        return out + (self.opened(block) if self.streamed else b"")

    def _append(self, block: Block, piece: str) -> bytes:
        if not piece:
            return b""
        block.pieces.append(piece)
        return self.grown(block, piece) if self.streamed else b""

    def _shut_last(self) -> bytes:
        return self.shut(self.blocks[-1]) if self.blocks and self.streamed else b""


def named_event(document: dict[str, JsonValue]) -> bytes:
    """An event under the name that its document has as its type."""
    return f"event: {document['type']}\n".encode() + b"data: " + dump_json(document) + b"\n\n"
