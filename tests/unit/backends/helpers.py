"""Feeding decoders by hand."""

import json
from typing import Any

from llama_runner.backends.decoding import DecoderBase
from llama_runner.backends.events import ReasoningDelta, StreamEvent, TextDelta
from llama_runner.backends.ollama_decoder import OllamaDecoder
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.net.lines import DEFAULT_CAPS, StreamCaps

URL = "http://127.0.0.1:1"
DONE = b"data: [DONE]\n\n"


def sse(*documents: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)


def delta(done: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": done}]}


def run(decoder: DecoderBase, *reads: bytes) -> list[StreamEvent]:
    events = [event for data in reads for event in decoder.feed(1, data)]
    return events + decoder.close(1)


def openai(*reads: bytes, caps: StreamCaps = DEFAULT_CAPS) -> tuple[list[StreamEvent], OpenAIDecoder]:
    decoder = OpenAIDecoder(URL, caps)
    return run(decoder, *reads), decoder


def ollama(*reads: bytes) -> tuple[list[StreamEvent], OllamaDecoder]:
    decoder = OllamaDecoder(URL)
    return run(decoder, *reads), decoder


def text(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def reasoning(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))
