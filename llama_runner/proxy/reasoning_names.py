"""Reasoning under both names that clients know: llama-server's, and that of Ollama's `/v1` and vLLM."""

import re
from dataclasses import dataclass, field
from typing import Final

from llama_runner.core.errors import LlamaRunnerError
from llama_runner.proxy.answers import AnswerWriter

# A key with its text. Inside a text every quote has a backslash before it, so only real keys match.
_REASONING: Final = re.compile(rb'"reasoning_content":\s?"((?:[^"\\]|\\.)*)"')
_KEY: Final = b'"reasoning_content":'
_BOTH: Final = rb'\g<0>,"reasoning":"\1"'


def with_both_names(events: bytes) -> bytes:
    """Whole events, or a whole document: what has no reasoning stays as it is, byte for byte."""
    return _REASONING.sub(_BOTH, events) if _KEY in events else events


@dataclass(slots=True)
class BothNames:
    """Another writer's answer with the second name. The other must give whole events, or a whole document."""

    inner: AnswerWriter
    content_type: str = field(init=False)

    def __post_init__(self) -> None:
        self.content_type = self.inner.content_type

    def feed(self, data: bytes) -> bytes:
        """The other's, with both names."""
        return with_both_names(self.inner.feed(data))

    def end(self) -> bytes:
        """The other's, with both names."""
        return with_both_names(self.inner.end())

    def broken(self, error: LlamaRunnerError) -> bytes:
        """The other's."""
        return self.inner.broken(error)

    def ping(self) -> bytes:
        """The other's."""
        return self.inner.ping()
