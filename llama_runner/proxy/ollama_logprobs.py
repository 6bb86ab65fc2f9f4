"""How sure the model was of each token, in Ollama's lines: told with the text it is about."""

import json
from collections.abc import Mapping
from typing import Final

from llama_runner.backends.values import as_list, as_object
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.jsonio import JsonRejected, JsonValue, dump_compact, parse_json
from llama_runner.net.lines import DEFAULT_CAPS
from llama_runner.net.sse import SseParser
from llama_runner.proxy.answers import AnswerWriter

_SAME: Final = ("token", "logprob", "bytes")


class WithLogprobs:
    """An `AnswerWriter` around that of Ollama's lines.

    Args:
        top: How many other tokens are told beside each; none for 0.
    """

    def __init__(self, inner: AnswerWriter, top: int) -> None:
        self.content_type = inner.content_type
        self._inner = inner
        self._top = top
        self._events = SseParser()
        # Of events whose text is not told yet.
        self._untold: list[JsonValue] = []

    def feed(self, data: bytes) -> bytes:
        """The lines that `data` completes. Raises ServerError."""
        out = bytearray()
        for event in self._events.feed(data):
            self._note(event.data)
            name = f"event: {event.name}\n".encode() if event.name else b""
            out += self._told(self._inner.feed(name + b"data: " + event.data + b"\n\n"))
        return bytes(out)

    def end(self) -> bytes:
        """The last line, or the whole object. Raises ServerError when the answer is not complete."""
        return self._told(self._inner.end())

    def broken(self, error: LlamaRunnerError) -> bytes:
        """The last bytes in the dialect."""
        return self._inner.broken(error)

    def ping(self) -> bytes:
        """The dialect's own."""
        return self._inner.ping()

    def _note(self, data: bytes) -> None:
        if b'"logprobs"' not in data:
            return
        try:
            document = as_object(parse_json(data, max_bytes=DEFAULT_CAPS.event, allow_nonfinite=True))
        except JsonRejected:
            # Said by who reads the text.
            return
        for choice in as_list(document.get("choices"))[:1]:
            said = as_object(as_object(choice).get("logprobs"))
            self._untold += [self._one(as_object(token)) for token in as_list(said.get("content"))]

    def _one(self, token: Mapping[str, JsonValue]) -> JsonValue:
        told = {name: token.get(name) for name in _SAME}
        if self._top:
            others = as_list(token.get("top_logprobs"))[: self._top]
            told["top_logprobs"] = [{name: as_object(one).get(name) for name in _SAME} for one in others]
        return told

    def _told(self, lines: bytes) -> bytes:
        """The first of the lines has what is untold."""
        if not lines or not self._untold:
            return lines
        first, end, rest = lines.partition(b"\n")
        line = {**json.loads(first), "logprobs": self._untold}
        self._untold = []
        return dump_compact(line) + end + rest
