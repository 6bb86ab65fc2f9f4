"""Starts the window: shows it first, opens everything else behind it, and returns the exit code."""

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PySide6.QtCore import QLocale, QTimer, QTranslator
from PySide6.QtWidgets import QApplication

from llama_runner import __version__
from llama_runner.core.clock import SystemClock
from llama_runner.core.config import Loaded, load_app_config, load_models_config
from llama_runner.core.logs import LogHandle, start_logging
from llama_runner.core.paths import Home, current_home
from llama_runner.core.settings import AppConfig
from llama_runner.core.validation import Severity as ProblemSeverity
from llama_runner.ui.async_slots import start_task
from llama_runner.ui.collecting import collecting_in_gui_thread
from llama_runner.ui.geometry import WindowMemory
from llama_runner.ui.main_window import MainWindow
from llama_runner.ui.reporter import Reporter
from llama_runner.ui.single import SingleWindow
from llama_runner.ui.tabs import Severity
from llama_runner.ui.theme import Theme, ThemeMode

if TYPE_CHECKING:
    from qasync import QEventLoop

log = logging.getLogger(__name__)

Drive = Callable[[MainWindow], Coroutine[Any, Any, None]]

# Set to any value: print the time to the first paint on standard error and quit.
MEASURE_VARIABLE: Final = "LLAMA_RUNNER_MEASURE_START"
# Python's own signal handlers run between byte codes; Windows has no other way to wake Qt's loop for them.
SIGNAL_CHECK_MS: Final = 200
THREADS: Final = 4
# Compiled translations as llama_runner_<language>.qm; English is in the source.
TRANSLATIONS: Final = Path(__file__).parent / "i18n"

_SEVERITIES: Final = {
    ProblemSeverity.ERROR: Severity.ERROR,
    ProblemSeverity.WARNING: Severity.WARNING,
    ProblemSeverity.NOTICE: Severity.INFO,
}


def run_window(options: argparse.Namespace, *, drive: Drive | None = None) -> int:
    """Show the window and stay until it is closed.

    Args:
        options: The common options of the command line: home, demo, debug.
        drive: What uses the window in place of a person, once it is filled; the window closes when it ends.

    Returns:
        The exit code: 0, however the window was closed.
    """
    home = current_home(options.home)
    single = SingleWindow(home)
    application = _application()
    if not single.claim() and single.raise_other():
        sys.stderr.write("Llama Runner is open already: its window comes to the front.\n")
        return 0
    config = load_app_config(home)
    clock = SystemClock()
    reporter = Reporter(clock=clock, interrupt=application.closeAllWindows)
    logs = start_logging(home, config.value, console=options.debug, debug=options.debug)
    reporter.install(home.logs_dir / "crash.log")
    try:
        with collecting_in_gui_thread():
            _show(application, options, home, config, reporter, logs, single, drive)
    finally:
        single.release()
        reporter.uninstall()
        logs.close()
    return 0


def _show(
    application: QApplication,
    options: argparse.Namespace,
    home: Home,
    config: Loaded[AppConfig],
    reporter: Reporter,
    logs: LogHandle,
    single: SingleWindow,
    drive: Drive | None,
) -> None:
    install_language(application, config.value.ui.language)
    memory = WindowMemory(home.data_dir / "window.ini")
    theme = Theme(application, _theme_mode(config.value, memory))
    window = MainWindow(theme=theme, reporter=reporter, memory=memory, home=home, logs=logs)
    window.painted.connect(lambda: _painted(window))
    window.filled.connect(lambda: single.listen(window, window.come_to_front))
    window.show()
    with _event_loop(application, reporter) as loop:
        _run(loop, window, _main(window, options, home, config, drive))
    _dispose(application, window)


def _application() -> QApplication:
    existing = QApplication.instance()
    application = existing if isinstance(existing, QApplication) else QApplication(sys.argv[:1])
    application.setApplicationName("llama-runner")
    application.setApplicationDisplayName("Llama Runner")
    application.setApplicationVersion(__version__)
    application.setDesktopFileName("llama-runner")
    # Closing the window starts the closing of everything; Qt must not end the loop under it.
    application.setQuitOnLastWindowClosed(False)
    return application


def install_language(application: QApplication, language: str) -> QTranslator:
    """Load the translation for a setting value ("system" or a code); English when there is none."""
    translator = QTranslator(application)
    locale = QLocale.system() if language == "system" else QLocale(language)
    if translator.load(locale, "llama_runner", "_", str(TRANSLATIONS)):
        application.installTranslator(translator)
    return translator


def _theme_mode(config: AppConfig, memory: WindowMemory) -> ThemeMode:
    return ThemeMode(memory.text("theme") or config.ui.theme)


@contextmanager
def _event_loop(application: QApplication, reporter: Reporter) -> "Iterator[QEventLoop]":
    from qasync import QEventLoop

    loop = QEventLoop(application)
    asyncio.set_event_loop(loop)
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="window"))
    loop.set_exception_handler(reporter.on_loop_exception)
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _run(loop: "QEventLoop", window: MainWindow, work: Coroutine[Any, Any, None]) -> None:
    main = loop.create_task(work, name="window")
    main.add_done_callback(lambda _: loop.stop())
    # Anything may end Qt's loop (the session's end, a library); the closing still runs to its end.
    while not main.done():
        loop.run_forever()
        if not main.done():
            window.close()
    if not main.cancelled() and (error := main.exception()) is not None:
        window.reporter.report(error, doing="closing")


async def _main(
    window: MainWindow,
    options: argparse.Namespace,
    home: Home,
    config: Loaded[AppConfig],
    drive: Drive | None,
) -> None:
    # Imported behind the first paint: HTTP, models of every feature, a quarter of a second.
    from llama_runner.system.signals import install_stop_signals
    from llama_runner.ui.session import Session
    from llama_runner.workspace import open_workspace

    loop = asyncio.get_running_loop()
    session = Session(window, lambda: open_workspace(home, demo=options.demo, clock=SystemClock()))
    undo_signals = install_stop_signals(loop, lambda name: session.close())
    ticker = QTimer(window)
    if sys.platform == "win32":
        ticker.timeout.connect(lambda: None)
        ticker.start(SIGNAL_CHECK_MS)
    QApplication.instance().commitDataRequest.connect(lambda _: session.close())  # type: ignore[union-attr]
    for problem in (*config.problems, *load_models_config(home).problems):
        window.notify(problem.message, severity=_SEVERITIES[problem.severity], details=problem.hint)
    if not window.isVisible():
        session.close()
    if drive is not None:
        window.filled.connect(lambda: start_task(window, _driven(window, drive), name="drive"))
    try:
        await session.run()
    finally:
        undo_signals()
        ticker.stop()


async def _driven(window: MainWindow, drive: Drive) -> None:
    try:
        await drive(window)
    finally:
        window.close()


def _painted(window: MainWindow) -> None:
    elapsed_ms = _since_process_start_ms()
    if elapsed_ms is None:
        return
    log.info("first paint ms=%.0f", elapsed_ms)
    if os.environ.get(MEASURE_VARIABLE):
        sys.stderr.write(f"first paint ms={elapsed_ms:.0f}\n")
        QTimer.singleShot(0, window, window.close)


def _since_process_start_ms() -> float | None:
    from llama_runner.system.identity import identity

    me = identity(os.getpid())
    if me is None:
        return None
    if sys.platform == "linux":
        return (time.clock_gettime(time.CLOCK_BOOTTIME) - me.create_time) * 1000
    return (SystemClock().utc().timestamp() - me.create_time) * 1000


def _dispose(application: QApplication, window: MainWindow) -> None:
    """Delete the window while the application still exists: the other order crashes now and then."""
    window.hide()
    window.deleteLater()
    application.sendPostedEvents(None, 0)
    application.processEvents()
