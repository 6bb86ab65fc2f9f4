"""Where every unhandled error ends: one log record and at most one notice, never silence, never a dialog.

Hooks of Python, threads, the garbage collector, the event loop and Qt all lead here; `faulthandler` writes
what ends the process before anything can be said.
"""

import asyncio
import faulthandler
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from PySide6.QtCore import QMessageLogContext, QObject, QtMsgType, Signal, qInstallMessageHandler

from llama_runner.core.clock import Clock
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.files import PRIVATE_FILE_MODE
from llama_runner.ui.tabs import Severity

log = logging.getLogger(__name__)
qt_log = logging.getLogger(f"{__name__}.qt")

# More than this and nobody reads them; the log has them all.
NOTICES_PER_WINDOW: Final = 5
WINDOW_NS: Final = 60_000_000_000

_QT_LEVELS: Final = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}
# What a task says that touched its widgets after they had died with the window: late, not wrong.
_DEAD_OBJECT: Final = "Internal C++ object"


class Reporter(QObject):
    """The one reporter. Safe to call from any thread; `noticed` arrives in the thread of its receiver.

    Args:
        interrupt: What Ctrl+C means.
    """

    noticed = Signal(str, str, str)

    def __init__(
        self, *, clock: Clock, interrupt: Callable[[], object], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._clock = clock
        self._interrupt = interrupt
        self._said_ns: deque[int] = deque(maxlen=NOTICES_PER_WINDOW)
        self._undo: list[Callable[[], object]] = []

    def report(self, error: BaseException, *, doing: str) -> None:
        """Log `error` and say it once. `doing`: what went wrong, completes "while …"."""
        if isinstance(error, LlamaRunnerError):
            log.warning("failed doing=%s kind=%s error=%s", doing, error.kind, error)
            self._say(Severity.WARNING, error.message, error.hint)
            return
        if isinstance(error, RuntimeError) and _DEAD_OBJECT in str(error):
            log.debug("late touch of a closed view doing=%s", doing, exc_info=error)
            return
        log.error("unexpected error doing=%s", doing, exc_info=error)
        self._say(
            Severity.ERROR,
            self.tr("Something unexpected went wrong while {doing}: {kind}.").format(
                doing=doing, kind=type(error).__name__
            ),
            self.tr("You can go on. The log has the details."),
        )

    def install(self, crash_file: Path) -> None:
        """Take over every hook. `crash_file` gets the stacks of a crash."""
        old_hook, old_thread, old_unraisable = sys.excepthook, threading.excepthook, sys.unraisablehook
        sys.excepthook = self._on_exception
        threading.excepthook = self._on_thread_exception
        sys.unraisablehook = self._on_unraisable
        old_qt = qInstallMessageHandler(self._on_qt_message)
        self._undo = [
            lambda: setattr(sys, "excepthook", old_hook),
            lambda: setattr(threading, "excepthook", old_thread),
            lambda: setattr(sys, "unraisablehook", old_unraisable),
            lambda: qInstallMessageHandler(old_qt),
        ]
        self._watch_crashes(crash_file)

    def _watch_crashes(self, crash_file: Path) -> None:
        try:
            crash_file.touch(PRIVATE_FILE_MODE)
            file: IO[str] = crash_file.open("a", encoding="utf-8")
        except OSError as error:
            log.warning("no crash file path=%s error=%s", crash_file, error)
            return
        was_enabled = faulthandler.is_enabled()
        faulthandler.enable(file)
        self._undo.append(faulthandler.enable if was_enabled else faulthandler.disable)
        self._undo.append(file.close)

    def uninstall(self) -> None:
        """Give every hook back. Idempotent."""
        for undo in self._undo:
            undo()
        self._undo = []

    def on_loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The event loop's handler: failed tasks and callbacks."""
        error = context.get("exception")
        if isinstance(error, Exception):
            self.report(error, doing=self._name_of(context))
        else:
            log.error("event loop: %s", context.get("message"))

    @staticmethod
    def _name_of(context: dict[str, Any]) -> str:
        task = context.get("task") or context.get("future")
        return task.get_name() if isinstance(task, asyncio.Task) else str(context.get("message", "working"))

    def _on_exception(
        self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._interrupt()
        else:
            self.report(error, doing=self.tr("handling an event"))

    def _on_thread_exception(self, arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        if error is not None and not isinstance(error, SystemExit):
            name = arguments.thread.name if arguments.thread else "?"
            self.report(error, doing=self.tr("running thread {name}").format(name=name))

    def _on_unraisable(self, arguments: "sys.UnraisableHookArgs") -> None:
        error = arguments.exc_value
        if error is not None:
            log.error("unraisable %s object=%r", arguments.err_msg, arguments.object, exc_info=error)

    def _on_qt_message(self, kind: QtMsgType, context: QMessageLogContext, message: str) -> None:
        qt_log.log(_QT_LEVELS.get(kind, logging.WARNING), "%s", message)

    def _say(self, severity: Severity, message: str, hint: str) -> None:
        now_ns = self._clock.now_ns()
        full = len(self._said_ns) == NOTICES_PER_WINDOW
        if full and now_ns - self._said_ns[0] < WINDOW_NS:
            return
        self._said_ns.append(now_ns)
        self.noticed.emit(severity.value, message, hint)
