"""What a tab needs to be tried alone: a workspace without a window, a shell, one loop for Qt and asyncio."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import shiboken6
from PySide6.QtCore import QCoreApplication, QEvent, QObject, Signal
from PySide6.QtWidgets import QAbstractButton, QApplication, QMessageBox, QWidget
from qasync import QEventLoop

from llama_runner.backends.base import Endpoint, Engine, Target
from llama_runner.backends.models import ModelInfo
from llama_runner.core.paths import create_folders, home_at
from llama_runner.discovery.registry import Certainty, ServerRecord, ServerSource, ServerStatus
from llama_runner.ui.async_slots import cancel_tasks
from llama_runner.ui.tabs import Severity
from llama_runner.ui.theme import Theme, ThemeMode
from llama_runner.workspace import Workspace, open_workspace
from tests.fakes.metronome_plan import Plan

Scenario = Callable[[], Coroutine[Any, Any, None]]


class Shell(QObject):
    """The window's side, keeping what it is told."""

    target_changed = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self.said: list[str] = []
        self.notices: list[tuple[Severity, str]] = []
        self.errors: list[BaseException] = []
        self.opened: list[str] = []
        self.picked: list[tuple[str, str | None]] = []
        self.handed_over: list[tuple[str, str, str]] = []
        self._target: Target | None = None

    @property
    def target(self) -> Target | None:
        return self._target

    def point_at(self, target: Target | None) -> None:
        """Another choice in the header."""
        self._target = target
        self.target_changed.emit()

    def set_target(self, server_id: str, model_id: str | None = None) -> None:
        self.picked.append((server_id, model_id))

    def say(self, message: str) -> None:
        self.said.append(message)

    def notify(self, message: str, *, severity: Severity = Severity.INFO, details: str = "") -> None:
        self.notices.append((severity, message))

    def report(self, error: BaseException, *, doing: str) -> None:
        self.errors.append(error)

    def open_tab(self, key: str) -> None:
        self.opened.append(key)

    def hand_over(self, key: str, server_id: str, model_id: str) -> None:
        self.handed_over.append((key, server_id, model_id))

    def open_settings(self) -> None:
        self.opened.append("settings")


@dataclass(slots=True)
class Stage:
    """A workspace and a shell, and the errors that reached nobody."""

    workspace: Workspace
    shell: Shell
    unhandled: list[str] = field(default_factory=list)
    shown: list[QWidget] = field(default_factory=list)

    def show(self, tab: QWidget, width: int = 1100, height: int = 700) -> None:
        """Put it on the (virtual) screen."""
        self.shown.append(tab)
        tab.resize(width, height)
        tab.show()


@asynccontextmanager
async def stage(home: Path, *, mode: ThemeMode = ThemeMode.LIGHT) -> AsyncIterator[Stage]:
    """Everything below the window. Widgets of the test are cancelled and deleted at the end."""
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    folders = home_at(home)
    create_folders(folders)
    async with open_workspace(folders) as workspace:
        theme = Theme(application, mode)
        found = Stage(workspace, Shell(theme))
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: found.unhandled.append(
                f"{context.get('message')}: {context.get('exception')!r}"
            )
        )
        try:
            yield found
        finally:
            # Not every top-level widget: pyqtgraph has menus of its own and deletes them itself.
            for tab in filter(shiboken6.isValid, found.shown):
                await cancel_tasks(tab, timeout_s=5)
                tab.hide()
                tab.deleteLater()
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
            theme.deleteLater()
            QCoreApplication.sendPostedEvents(theme, QEvent.Type.DeferredDelete.value)
    assert found.unhandled == [], found.unhandled


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario to its end on a loop that Qt drives, as the window does."""
    loop = QEventLoop(QApplication.instance())
    with _closed(loop):
        loop.run_until_complete(asyncio.wait_for(scenario, 170))


@contextmanager
def _closed(loop: QEventLoop) -> Iterator[None]:
    try:
        yield
    finally:
        loop.close()


async def until(condition: Callable[[], object], *, timeout_s: float = 45.0) -> None:
    """Wait until something is true, looking once per turn of the loop and at least every 5 ms."""
    async with asyncio.timeout(timeout_s):
        # A view tells nobody when it has painted: it reads at its own rate.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def server(url: str, plans: dict[str, Plan] | tuple[str, ...], *, server_id: str = "s1") -> ServerRecord:
    """A server of the registry; its models are plans for the metronome, or plain names."""
    ids = tuple(plan.model_id() for plan in plans.values()) if isinstance(plans, dict) else plans
    return ServerRecord(
        id=server_id,
        base_url=url,
        engine=Engine.OPENAI,
        product="metronome",
        certainty=Certainty.CERTAIN,
        status=ServerStatus.ONLINE,
        source=ServerSource.FOUND,
        models=tuple(ModelInfo(id=one) for one in ids),
    )


def planned(url: str, label: str = "metronome", **plan: Any) -> Target:
    """A target that answers by a plan."""
    return Target(Endpoint(url, Engine.OPENAI), Plan(**plan).model_id(), label)


def open_questions() -> list[QMessageBox]:
    """Message boxes in sight."""
    return [box for box in QApplication.topLevelWidgets() if isinstance(box, QMessageBox) and box.isVisible()]


W = TypeVar("W", bound=QWidget)


def part(root: QWidget, kind: type[W], name: str) -> W:
    """The widget with this object name."""
    found = root.findChild(kind, name)
    assert found is not None, f"no {kind.__name__} {name!r}"
    return found


def word_on(control: QWidget) -> str:
    """The word on a button: as good as a name."""
    return control.text() if isinstance(control, QAbstractButton) else ""
