"""Logging of a process: one background writer, a rotating file, the console, and a tail for the window.

Every record is one line, redacted and bounded. A log that cannot be written never stops the program.
"""

import contextlib
import logging
import queue
import re
import sys
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import Final

from llama_runner.core.clock import Clock, SystemClock
from llama_runner.core.logfile import RotatingFile, prune
from llama_runner.core.paths import Home
from llama_runner.core.redaction import RedactingFilter, Redactor
from llama_runner.core.settings import AppConfig

OWN_LOGGER: Final = "llama_runner"
TAIL_RECORDS: Final = 2000
# A traceback fits; a dumped document does not. The middle goes, both ends tell most.
MAX_RECORD_CHARS: Final = 8 * 1024
# Some seconds of a flood; beyond it records are dropped and counted instead of filling the memory.
QUEUE_RECORDS: Final = 10_000
# The same message more often than this within the window is a loop, not news.
REPEATS_PER_WINDOW: Final = 50
REPEAT_WINDOW_NS: Final = 10_000_000_000
# Bounds the memory of a window in which every message is different.
MAX_DISTINCT_MESSAGES: Final = 1000
# A console nobody reads may block the writer for ever; the end of the program must not wait for it.
CLOSE_TIMEOUT_S: Final = 5.0

_BREAKING: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r"}

_Records = queue.Queue[logging.LogRecord | None]


def one_line(text: str, limit: int = MAX_RECORD_CHARS) -> str:
    """`text` with what could break or fake a log line escaped; beyond `limit` without its middle."""
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]} [{len(text) - 2 * half} characters left out] {text[-half:]}"
    return _BREAKING.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _SHORT_ESCAPES.get(match[0], f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


class LineFormatter(logging.Formatter):
    """`2026-01-31T12:00:05.123Z INFO llama_runner.net text`, always one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line without its line end."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        return f"{time}Z {record.levelname} {record.name} {one_line(record.getMessage())}"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One record in the tail.

    Attributes:
        seq: Counts up from 1 without gaps, so that a view can ask for what is new.
        text: One line, redacted.
    """

    seq: int
    time: datetime
    level: str
    logger: str
    text: str


class RingHandler(logging.Handler):
    """Keeps the last `TAIL_RECORDS` records in memory, for the window's log view. Safe from any thread."""

    def __init__(self, capacity: int = TAIL_RECORDS) -> None:
        super().__init__()
        self._lines: deque[LogLine] = deque(maxlen=capacity)
        self._next_seq = 1

    def emit(self, record: logging.LogRecord) -> None:
        """Keep `record`; called by `handle` under the handler's lock."""
        time = datetime.fromtimestamp(record.created, UTC)
        text = one_line(record.getMessage())
        self._lines.append(LogLine(self._next_seq, time, record.levelname, record.name, text))
        self._next_seq += 1

    def records(self, after: int = 0) -> list[LogLine]:
        """What is kept with a `seq` above `after`, oldest first."""
        self.acquire()
        try:
            return [line for line in self._lines if line.seq > after]
        finally:
            self.release()


class RepeatLimit:
    """Lets the same message pass `REPEATS_PER_WINDOW` times per window."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._window_start_ns = clock.now_ns()
        self._seen: dict[tuple[str, int, str], int] = {}

    def allows(self, record: logging.LogRecord) -> bool:
        """Whether `record` may pass. Messages are the same when logger, level and template are."""
        now_ns = self._clock.now_ns()
        if now_ns - self._window_start_ns >= REPEAT_WINDOW_NS or len(self._seen) > MAX_DISTINCT_MESSAGES:
            self._window_start_ns = now_ns
            self._seen.clear()
        key = (record.name, record.levelno, str(record.msg))
        self._seen[key] = self._seen.get(key, 0) + 1
        return self._seen[key] <= REPEATS_PER_WINDOW


class _Inlet(QueueHandler):
    """The calling thread's side: merges the arguments into the message, then only queues the record."""

    def __init__(self, records: _Records, limit: RepeatLimit, redactor: Redactor) -> None:
        super().__init__(records)
        self.redactor = redactor
        self._limit = limit
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self._limit.allows(record):
            super().emit(record)
        else:
            self._lost += 1

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            super().enqueue(record)
        except queue.Full:
            self._lost += 1

    def handleError(self, record: logging.LogRecord) -> None:
        """Tell where the faulty log call is; the standard way would print its arguments unredacted."""
        self.enqueue(_own_record(f"a log call cannot be formatted: {record.pathname}:{record.lineno}"))

    def take_lost(self) -> int:
        """How many records were held back since the last call."""
        self.acquire()
        try:
            lost, self._lost = self._lost, 0
            return lost
        finally:
            self.release()


class _Outlet(QueueListener):
    """The background writer: redacts each record once, hands it to all handlers, tells what was left out."""

    def __init__(
        self,
        records: _Records,
        handlers: list[logging.Handler],
        redactor: Redactor,
        inlet: _Inlet,
        clock: Clock,
    ) -> None:
        super().__init__(records, *handlers)
        self._records = records
        self._filter = RedactingFilter(redactor)
        self._inlet = inlet
        self._clock = clock
        self._told_ns = clock.now_ns()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # The inlet queued a copy of its own, so nobody else sees this change.
        self._filter.filter(record)
        return record

    def handle(self, record: logging.LogRecord) -> None:
        super().handle(record)
        if self._clock.now_ns() - self._told_ns >= REPEAT_WINDOW_NS:
            self.tell_lost()

    def tell_lost(self) -> None:
        """Write how many records were left out, if any."""
        self._told_ns = self._clock.now_ns()
        if lost := self._inlet.take_lost():
            super().handle(_own_record(f"{lost} log records left out: repeated or too many at once"))

    def enqueue_sentinel(self) -> None:
        self._records.put(None, timeout=CLOSE_TIMEOUT_S)

    def stop(self) -> None:
        thread = self._thread
        with contextlib.suppress(queue.Full):
            self.enqueue_sentinel()
        if thread is not None:
            thread.join(CLOSE_TIMEOUT_S)
        self._thread = None


class _Console(logging.StreamHandler):  # type: ignore[type-arg]  # generic only in the stubs
    """Standard error, as long as somebody reads it."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Stay silent: the reader is gone, and the file has the record."""


def _own_record(text: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)


class LogHandle:
    """The running log of this process. Close it last.

    Attributes:
        file: The log file, for error messages and the doctor.
        tail: The last records, for the log view.
        redactor: Tell it every secret this process learns.
    """

    def __init__(
        self, *, file: Path, tail: RingHandler, redactor: Redactor, inlet: _Inlet, outlet: _Outlet, level: int
    ) -> None:
        self.file = file
        self.tail = tail
        self.redactor = redactor
        self._inlet = inlet
        self._outlet = outlet
        self._own = logging.getLogger(OWN_LOGGER)
        self._level_before = self._own.level
        self._own.setLevel(level)
        inlet.setLevel(level)
        logging.getLogger().addHandler(inlet)
        outlet.start()

    def close(self) -> None:
        """Write what is queued and let go of the file. Idempotent."""
        root = logging.getLogger()
        if self._inlet not in root.handlers:
            return
        root.removeHandler(self._inlet)
        self._own.setLevel(self._level_before)
        self._outlet.stop()
        self._outlet.tell_lost()
        for handler in (self._inlet, *self._outlet.handlers):
            # A full disk refuses the last flush; there is nowhere left to say so.
            with contextlib.suppress(OSError):
                handler.close()


def hide_from_logs(secret: str) -> None:
    """Never write a secret that this process has just learnt: every log that is running is told."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Inlet):
            handler.redactor.add(secret)


def start_logging(
    home: Home,
    config: AppConfig,
    *,
    console: bool,
    debug: bool,
    name: str = "llama-runner",
    redactor: Redactor | None = None,
    clock: Clock | None = None,
) -> LogHandle:
    """Send what this process logs to `<logs_dir>/<name>.log`, the tail, and standard error if `console`.

    Our own loggers write from the configured level up (everything with `debug`), others from WARNING up.

    Args:
        name: Stem of the file. Processes that run side by side may share one.
        redactor: Where secrets are known already.
    """
    settings, clock, redactor = config.logging, clock or SystemClock(), redactor or Redactor()
    tail = RingHandler()

    def report(text: str) -> None:
        tail.handle(_own_record(text))

    file = RotatingFile(
        home.logs_dir / f"{name}.log",
        max_bytes=settings.file_max_bytes,
        file_count=settings.file_count,
        report=report,
        clock=clock,
    )
    handlers: list[logging.Handler] = [tail, file]
    if console and sys.stderr is not None:
        handlers.append(_Console(sys.stderr))
    for handler in handlers:
        handler.setFormatter(LineFormatter())
    prune(home.logs_dir, keep=file.path)
    records: _Records = queue.Queue(QUEUE_RECORDS)
    inlet = _Inlet(records, RepeatLimit(clock), redactor)
    return LogHandle(
        file=file.path,
        tail=tail,
        redactor=redactor,
        inlet=inlet,
        outlet=_Outlet(records, handlers, redactor, inlet, clock),
        level=logging.DEBUG if debug else logging.getLevelNamesMapping()[settings.level],
    )
