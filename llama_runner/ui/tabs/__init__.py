"""The tab table, and what the window offers to a tab.

A tab is a QWidget built with `(workspace, shell)` the first time it is shown. It turns clicks into manager
calls and snapshots into widgets, owns no other tab, and never reads while hidden (`widgets.polling.Poller`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast, runtime_checkable

from PySide6.QtCore import QT_TRANSLATE_NOOP, SignalInstance
from PySide6.QtWidgets import QWidget

from llama_runner.backends.base import Target
from llama_runner.ui.theme import Theme

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

TabFactory = Callable[["Workspace", "Shell"], QWidget]


class Severity(StrEnum):
    """How much a notice matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Shell(Protocol):
    """What the window offers to its tabs."""

    theme: Theme

    @property
    def target(self) -> Target | None:
        """What the header's picker points at, None while nothing is chosen."""
        ...

    @property
    def target_changed(self) -> SignalInstance:
        """Emitted without arguments whenever `target` may have become another one."""
        ...

    def set_target(self, server_id: str, model_id: str | None = None) -> None:
        """Choose the shared target: a server of the registry, and one of its models (None: its first)."""
        ...

    def say(self, message: str) -> None:
        """Show the outcome of the last action in the status bar."""
        ...

    def notify(self, message: str, *, severity: Severity = Severity.INFO, details: str = "") -> None:
        """Add one non-modal notice; details are folded away."""
        ...

    def report(self, error: BaseException, *, doing: str) -> None:
        """Turn an error into a notice, and a log record too when it is not one of ours.

        Args:
            doing: Completes "while …": "loading the model".
        """
        ...

    def open_settings(self) -> None:
        """Show the settings dialog."""
        ...

    def open_tab(self, key: str) -> None:
        """Bring the tab with this key to the front."""
        ...

    def hand_over(self, key: str, server_id: str, model_id: str) -> None:
        """Give a model to a tab that holds a choice of its own (`TakesModels`), without showing that tab."""
        ...


@runtime_checkable
class TakesModels(Protocol):
    """A tab with models of its own choice."""

    def take_model(self, server_id: str, model_id: str) -> None:
        """Add a model of a server of the registry. Raises NotFoundError."""
        ...


@dataclass(frozen=True, slots=True)
class TabEntry:
    """One line of the tab table.

    Attributes:
        title: Marked for translation in the context "tabs".
        icon: Name of an icon of the icon font.
        factory: "module:Class", imported when the tab is first shown.
    """

    key: str
    title: str
    icon: str
    factory: str

    def load(self) -> TabFactory:
        """Import the tab's class."""
        module, _, name = self.factory.partition(":")
        return cast(TabFactory, getattr(import_module(module), name))


def _title(text: str) -> str:
    # Always a str in PySide; the stub says object.
    return str(QT_TRANSLATE_NOOP("tabs", text))


_HERE: Final = "llama_runner.ui.tabs"

TABS: Final = (
    TabEntry("discovery", _title("Discovery"), "mdi6.radar", f"{_HERE}.discovery:DiscoveryTab"),
    TabEntry("models", _title("Models"), "mdi6.cube-outline", f"{_HERE}.models:ModelsTab"),
    TabEntry("chat", _title("Chat"), "mdi6.message-text-outline", f"{_HERE}.chat:ChatTab"),
    TabEntry("arena", _title("Arena"), "mdi6.compare-horizontal", f"{_HERE}.arena:ArenaTab"),
    TabEntry("stress", _title("Stress"), "mdi6.speedometer", f"{_HERE}.stress:StressTab"),
    TabEntry("monitor", _title("Monitor"), "mdi6.chart-line", f"{_HERE}.monitor:MonitorTab"),
)
