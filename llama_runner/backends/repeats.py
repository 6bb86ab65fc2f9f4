"""Reads that differ from an earlier one in their text only, known by their bytes: no JSON is parsed for them.

An engine's events of one answer are the same around the text, but for a second that changes. No I/O.
"""

import msgspec


class Repeats:
    """The reads of one answer.

    Args:
        key: The field that the text stands in, as JSON has it, with its colon.
    """

    __slots__ = ("_after", "_before", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._before = b""
        self._after = b""

    def learn(self, data: bytes, text: str) -> None:
        """`data` is one whole event that says `text` and nothing else."""
        key, value = self._key, msgspec.json.encode(text)
        at = data.find(key) + len(key)
        at += data.startswith(b" ", at)
        # Found twice, one of them is another field. Inside a text its quotes stand behind backslashes.
        if data.count(key) == 1 and data.startswith(value, at):
            self._before, self._after = data[: at + 1], data[at + len(value) - 1 :]

    def text(self, data: bytes) -> str:
        """What the event says if it is known; empty otherwise, and where the text needs a closer look."""
        before, after = self._before, self._after
        if not (before and data.startswith(before) and data.endswith(after)):
            return ""
        inside = data[len(before) : -len(after)]
        if b'"' in inside or b"\\" in inside:
            return ""
        try:
            text = inside.decode()
        except UnicodeDecodeError:
            return ""
        # What is printable is no control character and no surrogate, so nothing in it needs repair.
        return text if text.isprintable() else ""
