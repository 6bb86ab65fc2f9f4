"""One application for all tests of the window, started before anything is counted as left behind."""

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication

from llama_runner.ui.collecting import collecting_in_gui_thread


@pytest.fixture(scope="session", autouse=True)
def started_application(qapp: QApplication) -> QApplication:
    """Qt's dispatcher, fonts and clipboard open files of their own once per process."""
    QApplication.clipboard().text()
    qapp.processEvents()
    return qapp


@pytest.fixture(autouse=True)
def garbage_of_the_gui_thread(started_application: QApplication) -> Iterator[None]:
    """Widgets die in the thread they were made in, here as in the program."""
    with collecting_in_gui_thread():
        yield
