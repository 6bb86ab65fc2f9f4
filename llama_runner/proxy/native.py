"""A call as its client spoke it, for servers of the same dialect: there it goes through untouched."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from llama_runner.backends.base import Engine
from llama_runner.core.errors import LlamaRunnerError, TruncatedError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.proxy.answers import AnswerWriter, BodyThrough, ErrorDocument, WholePieces

DONE: bytes = b'"done":true'
ERROR_LINE: bytes = b'{"error"'


@dataclass(frozen=True, slots=True)
class Native:
    """What a client sent.

    Attributes:
        engine: Whose dialect it is.
        error_document: How its errors are spelt.
    """

    engine: Engine
    path: str
    document: Mapping[str, JsonValue] = field(repr=False)
    streamed: bool
    error_document: ErrorDocument

    def writer(self, model_id: str) -> AnswerWriter:
        """For the answer of a server of that dialect."""
        if self.streamed:
            return LinesThrough(model_id, self.error_document)
        return BodyThrough(self.error_document)


@dataclass(slots=True)
class LinesThrough(WholePieces):
    """Lines of JSON; an end without `done` is an error."""

    piece_end: ClassVar[bytes] = b"\n"
    content_type: str = "application/x-ndjson"

    def end(self) -> bytes:
        """A last line whose end is missing. Raises TruncatedError when the answer is not complete."""
        rest = bytes(self._held)
        self._look(rest)
        if self._ended:
            return rest
        raise TruncatedError(
            f"{self.model_id} ended its answer without a last line: it may be incomplete.", "Ask again."
        )

    def broken(self, error: LlamaRunnerError) -> bytes:
        """A line with the error."""
        return dump_json(self.error_document(error)) + b"\n"

    def ping(self) -> bytes:
        """Nothing: this dialect has no comment."""
        return b""

    def _look(self, pieces: bytes) -> None:
        last = pieces.rstrip().rpartition(b"\n")[2].replace(b": ", b":")
        self._ended = self._ended or DONE in last or last.startswith(ERROR_LINE)
