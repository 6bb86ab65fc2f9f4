"""Newline-delimited JSON documents out of bytes, without I/O; parsing them is the caller's."""

from collections.abc import Iterator

from llama_runner.net.lines import BOM, DEFAULT_CAPS, LineSplitter, StreamCaps


class NdjsonParser:
    """Non-blank lines, without byte order marks and surrounding white space."""

    def __init__(self, caps: StreamCaps = DEFAULT_CAPS) -> None:
        self._lines = LineSplitter(caps)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The documents that `data` completes. Raises StreamLimitError after those before it."""
        for line in self._lines.feed(data):
            if text := _trimmed(line):
                yield text

    def close(self) -> list[bytes]:
        """The body ended: a last line without an end counts."""
        text = _trimmed(self._lines.close())
        return [text] if text else []


def _trimmed(line: bytes) -> bytes:
    return line.removeprefix(BOM).strip(b" \t")
