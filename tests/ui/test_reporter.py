"""Every unhandled error ends in the log and in one notice."""

import asyncio
import gc
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer, qWarning
from PySide6.QtWidgets import QApplication, QLabel, QPushButton
from pytestqt.qtbot import QtBot

from llama_runner.core.errors import EngineError
from llama_runner.ui.notices import MAX_NOTICES, NoticeBar, Notices
from llama_runner.ui.reporter import NOTICES_PER_WINDOW, WINDOW_NS, Reporter
from llama_runner.ui.tabs import Severity
from tests.ui.tab_support import run, until


class HandClock:
    def __init__(self) -> None:
        self.ns = 0

    def now_ns(self) -> int:
        return self.ns

    def utc(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def said() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def reporter(
    qapp: QApplication, said: list[tuple[str, str, str]], clock: HandClock, tmp_path: Path
) -> Iterator[Reporter]:
    made = Reporter(clock=clock, interrupt=lambda: said.append(("interrupt", "", "")))
    made.noticed.connect(lambda severity, message, hint: said.append((severity, message, hint)))
    made.install(tmp_path / "crash.log")
    yield made
    made.uninstall()
    made.uninstall()


def test_hooks_are_given_back_and_the_crash_file_is_private(
    qapp: QApplication, clock: HandClock, tmp_path: Path
) -> None:
    before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    reporter = Reporter(clock=clock, interrupt=lambda: None)
    reporter.install(tmp_path / "crash.log")
    if sys.platform != "win32":
        assert (tmp_path / "crash.log").stat().st_mode & 0o777 == 0o600
    assert sys.excepthook != before[0]
    reporter.uninstall()
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook) == before


def test_an_exception_in_a_slot_is_logged_and_said_once(
    reporter: Reporter, said: list[tuple[str, str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    def slot() -> None:
        raise ValueError("on purpose")

    sys.excepthook(*_raised(slot))
    assert len(said) == 1
    assert said[0][0] == Severity.ERROR
    assert "ValueError" in said[0][1]
    assert "on purpose" in caplog.text


def _raised(action: object) -> tuple[type[BaseException], BaseException, None]:
    assert callable(action)
    try:
        action()
    except ValueError as error:
        return type(error), error, None
    raise AssertionError


def test_an_error_of_ours_is_told_with_its_advice(
    reporter: Reporter, said: list[tuple[str, str, str]]
) -> None:
    reporter.report(EngineError("No llama-server was found.", "Choose one in Settings."), doing="loading")
    assert said == [("warning", "No llama-server was found.", "Choose one in Settings.")]


def test_an_exception_in_a_thread_reaches_the_notice(
    reporter: Reporter, said: list[tuple[str, str, str]], qtbot: QtBot
) -> None:
    def work() -> None:
        raise ValueError("in a thread")

    thread = threading.Thread(target=work, name="worker 7")
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: bool(said), timeout=2000)
    assert "worker 7" in said[0][1]


def test_an_exception_while_collecting_garbage_is_logged(
    reporter: Reporter, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad:
        def __del__(self) -> None:
            raise ValueError("in a finaliser")

    Bad()
    gc.collect()
    assert "in a finaliser" in caplog.text


def test_what_qt_says_is_logged(reporter: Reporter, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        qWarning("from Qt")
    assert "from Qt" in caplog.text


def test_ctrl_c_closes_the_window(reporter: Reporter, said: list[tuple[str, str, str]]) -> None:
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert said == [("interrupt", "", "")]


def test_a_failing_task_and_a_failing_callback_are_said(
    reporter: Reporter, said: list[tuple[str, str, str]]
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(reporter.on_loop_exception)

        def fails() -> None:
            raise ValueError("callback")

        loop.call_soon(fails)
        await until(lambda: said)

    run(scenario())
    assert "ValueError" in said[0][1]


def test_at_most_five_notices_a_minute(
    reporter: Reporter, said: list[tuple[str, str, str]], clock: HandClock
) -> None:
    for number in range(50):
        reporter.report(ValueError(str(number)), doing="testing")
    assert len(said) == NOTICES_PER_WINDOW
    clock.ns += WINDOW_NS
    reporter.report(ValueError("later"), doing="testing")
    assert len(said) == NOTICES_PER_WINDOW + 1


def test_touching_a_closed_view_is_no_news(reporter: Reporter, said: list[tuple[str, str, str]]) -> None:
    reporter.report(
        RuntimeError("Internal C++ object (PySide6.QtWidgets.QLabel) already deleted."), doing="late"
    )
    assert said == []


def test_notices_are_counted_and_bounded(qtbot: QtBot) -> None:
    notices = Notices()
    bar = NoticeBar(notices)
    qtbot.addWidget(bar)
    for _ in range(3):
        notices.add("the same", severity=Severity.WARNING)
    assert [notice.count for notice in notices.all] == [3]
    assert bar.isVisible()
    for number in range(2 * MAX_NOTICES):
        notices.add(f"number {number}", severity=Severity.INFO)
    assert len(notices.all) == MAX_NOTICES
    notices.clear()
    assert notices.all == ()
    assert not bar.isVisible()


def test_an_error_stays_in_the_strip_until_it_is_read(qtbot: QtBot) -> None:
    notices = Notices()
    bar = NoticeBar(notices)
    qtbot.addWidget(bar)
    text = next(label for label in bar.findChildren(QLabel) if label.accessibleName() == "Newest notice")
    buttons = {button.accessibleName(): button for button in bar.findChildren(QPushButton)}
    notices.add("the file is broken", severity=Severity.ERROR)
    notices.add("a port is busy", severity=Severity.WARNING)
    assert text.text() == "the file is broken"
    assert buttons["All notices"].text() == "2 new notices"
    notices.add("another file is broken", severity=Severity.ERROR)
    assert text.text() == "another file is broken"
    buttons["Dismiss"].click()
    assert not bar.isVisible()
    notices.add("a port is busy", severity=Severity.WARNING)
    assert text.text() == "a port is busy"
    assert buttons["All notices"].text() == "All notices"


def test_the_reporter_works_from_a_timer(reporter: Reporter, qtbot: QtBot) -> None:
    fired: list[int] = []
    QTimer.singleShot(0, lambda: fired.append(1))
    qtbot.waitUntil(lambda: bool(fired), timeout=2000)
