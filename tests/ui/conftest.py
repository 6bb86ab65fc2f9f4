"""One application for all tests of the window, started before anything is counted as left behind."""

import pytest
from PySide6.QtWidgets import QApplication


@pytest.fixture(scope="session", autouse=True)
def started_application(qapp: QApplication) -> QApplication:
    """Qt's dispatcher, fonts and clipboard open files of their own once per process."""
    QApplication.clipboard().text()
    qapp.processEvents()
    return qapp
