"""Writing for people and for programs: stdout holds the result and nothing else, stderr everything around it.

With `--json` stdout is exactly one JSON document, or JSON lines for the commands that stream.
"""

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any, Final, TextIO

from llama_runner.core.errors import LlamaRunnerError

# What a terminal would act on, each as its picture from U+2400 (C1 as U+FFFD); line breaks and tabs stay.
_TERMINAL_CONTROLS: Final = (
    {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)


def harmless(text: str) -> str:
    """`text` without anything a terminal would obey: a model or a server may have written it."""
    return text.translate(_TERMINAL_CONTROLS)


def to_json(value: object, *, indent: int | None = None) -> str:
    """JSON text of values, dataclasses, enums, paths and times. Raises ValueError on NaN or infinity."""
    return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, indent=indent)


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # A field kept out of the repr is a secret, and stays out of the output as well.
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.repr}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def error_document(error: LlamaRunnerError) -> dict[str, object]:
    """The error as `--json` shows it."""
    return {"error": {"kind": error.kind, "message": error.message, "hint": error.hint}}


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, two spaces apart, headers in capitals."""
    grid = [[header.upper() for header in headers], *rows]
    widths = [max(len(row[column]) for row in grid) for column in range(len(headers))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in grid)
    return "\n".join(line.rstrip() for line in lines)


class Output:
    """Where a command writes.

    Args:
        json: `--json`: documents and lines are written, text is not.
        quiet: `--quiet`: no notes, no progress.
    """

    def __init__(self, *, json: bool, quiet: bool, stdout: TextIO, stderr: TextIO) -> None:
        self.json = json
        self.quiet = quiet
        self._stdout = stdout
        self._stderr = stderr
        self._has_result = False
        self._progress_width = 0

    def document(self, value: object) -> None:
        """The one JSON document, with `--json` only. Raises RuntimeError when there already was one."""
        if not self.json:
            return
        if self._has_result:
            raise RuntimeError("a command writes one JSON document, not two")
        self._write(to_json(value, indent=2) + "\n")
        self._has_result = True

    def line(self, value: object) -> None:
        """One JSON line of a streaming command, with `--json` only."""
        if self.json:
            self._write(to_json(value) + "\n")

    def text(self, text: str, *, end: str = "\n") -> None:
        """Readable text, without `--json` only. On a terminal control characters are made visible."""
        if not self.json:
            self._write((harmless(text) if self._stdout.isatty() else text) + end)

    def progress(self, text: str) -> None:
        """A line on stderr that the next one overwrites; on a terminal only. An empty text removes it."""
        if self.quiet or not self._stderr.isatty():
            return
        self._clear_progress()
        self._stderr.write(harmless(text))
        self._stderr.flush()
        self._progress_width = len(text)

    def note(self, text: str) -> None:
        """A line on stderr for the person, not with `--quiet`."""
        if not self.quiet:
            self._say(text)

    def ask(self, text: str) -> None:
        """A question on stderr, behind which the person types; with `--quiet` too."""
        self._clear_progress()
        self._stderr.write(harmless(text))
        self._stderr.flush()

    def error(self, error: LlamaRunnerError, *, usage: str = "") -> None:
        """What went wrong and what to do next: JSON on stdout, or `usage` and text on stderr."""
        if self.json and not self._has_result:
            self.document(error_document(error))
        else:
            self._say(f"{usage}{error}")

    def _write(self, text: str) -> None:
        self._clear_progress()
        self._stdout.write(text)
        # A reader at the other end of a pipe wants each piece when it exists, not when a buffer is full.
        self._stdout.flush()

    def _say(self, text: str) -> None:
        self._clear_progress()
        self._stderr.write((harmless(text) if self._stderr.isatty() else text) + "\n")
        self._stderr.flush()

    def _clear_progress(self) -> None:
        if self._progress_width:
            self._stderr.write("\r" + " " * self._progress_width + "\r")
            self._progress_width = 0
