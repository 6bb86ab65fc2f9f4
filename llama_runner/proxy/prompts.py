"""What was asked and answered, on disk, only while a person wants it: bounded, private, keys hidden."""

import logging
from pathlib import Path
from typing import Final

from llama_runner.core.clock import Clock
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.logfile import RotatingFile
from llama_runner.core.redaction import redact
from llama_runner.core.settings import LoggingSettings
from llama_runner.proxy.records import RequestRecord

log = logging.getLogger(__name__)

# Of a request and of an answer each: enough to see what went wrong, written in a moment.
MAX_BYTES: Final = 32 * 1024
FILE_NAME: Final = "prompts.log"


class PromptLog:
    """One line of JSON per answer in `<logs>/prompts.log`. The file is made with the first line.

    Args:
        settings: How large the file may become, and how many are kept.
    """

    def __init__(self, folder: Path, settings: LoggingSettings, clock: Clock) -> None:
        self._clock = clock
        self._file = RotatingFile(
            folder / FILE_NAME,
            max_bytes=settings.file_max_bytes,
            file_count=settings.file_count,
            report=lambda text: log.warning("prompts are not logged reason=%s", text),
            clock=clock,
        )

    def write(self, record: RequestRecord, asked: bytes, answered: bytes) -> None:
        """Add one. What is longer than `MAX_BYTES` is cut."""
        line: JsonValue = {
            "utc": self._clock.utc().isoformat(),
            "number": record.number,
            "path": record.path,
            "model": record.model,
            "step": record.step,
            "asked": _shown(asked),
            "answered": _shown(answered),
        }
        text = dump_json(line).decode()
        self._file.handle(logging.LogRecord(__name__, logging.INFO, __file__, 0, text, None, None))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _shown(data: bytes) -> str:
    text = redact(data[:MAX_BYTES].decode("utf-8", errors="replace"))
    return text if len(data) <= MAX_BYTES else f"{text} [cut]"
