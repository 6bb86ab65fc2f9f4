"""Before a network is scanned: which hosts and ports, in numbers, what will be asked, and what never will be.

Nothing is sent from here: the dialog hands a checked plan to who opened it (safety R10).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from llama_runner.core import format
from llama_runner.core.config import load_app_config
from llama_runner.core.editing import parse_setting, set_setting
from llama_runner.core.errors import LlamaRunnerError, UsageError
from llama_runner.core.settings import AppConfig
from llama_runner.discovery.networks import Interface, ScanPlan, own_networks, plan_scan
from llama_runner.system.config_changes import change_app_config
from llama_runner.ui.async_slots import async_slot_once, start_task
from llama_runner.ui.theme import ROW_HEIGHT, SPACE_M, SPACE_XS, tooltip
from llama_runner.ui.widgets.forms import labelled
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.questions import without_icons

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

# What a scan keeps to; said here so that a person knows it, kept by `discovery.scanner`.
SOCKETS_AT_ONCE: Final = 256
CONNECTS_PER_S: Final = 600
MAX_TEXT: Final = 4096
LIST_ROWS: Final = 4
WIDTH: Final = 680
SUMMARY_LINES: Final = 4
NEVER: Final = "discovery.never_scan"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is typed and ticked."""

    networks: tuple[str, ...]
    hosts: tuple[str, ...]
    ports: tuple[int, ...]
    never: str
    browse: bool


def words_of(text: str) -> tuple[str, ...]:
    """What stands between commas, semicolons and spaces."""
    return tuple(text.replace(",", " ").replace(";", " ").split())


def ports_of(text: str) -> tuple[int, ...]:
    """Typed ports. Raises UsageError."""
    for word in words_of(text):
        if not (word.isascii() and word.isdigit() and len(word) <= 5):
            raise UsageError(f"{word[:20]!r} is not a port.", "Ports go from 1 to 65535.")
    return tuple(int(word) for word in words_of(text))


def duration_s(plan: ScanPlan) -> float:
    """About how long it takes when nobody answers: the slower of both limits."""
    per_s = min(CONNECTS_PER_S, SOCKETS_AT_ONCE / plan.connect_timeout_s)
    return plan.connects / per_s + plan.connect_timeout_s


class ScanDialog(QDialog):
    """`planned` tells the plan that a person agreed to.

    Args:
        interfaces: The networks that this computer is part of; asked in a thread.
    """

    planned = Signal(object)

    def __init__(
        self,
        workspace: "Workspace",
        parent: QWidget,
        *,
        interfaces: Callable[[], Sequence[Interface]] = own_networks,
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._own_networks = interfaces
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Scan a network"))
        self.setMinimumWidth(WIDTH)
        self._summary = PlainLabel(wrap=True)
        self._summary.setAccessibleName(self.tr("What the scan will do"))
        self._summary.setObjectName("scan-summary")
        self._problem = PlainLabel(wrap=True)
        self._problem.setObjectName("errorText")
        self._problem.setAccessibleName(self.tr("Why it cannot be scanned"))
        for label in (self._summary, self._problem):
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            # One of them is shown: the dialog keeps its size when they change places.
            label.setMinimumHeight(SUMMARY_LINES * label.fontMetrics().lineSpacing())
        self._buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self._go = self._buttons.addButton(self.tr("Scan"), QDialogButtonBox.ButtonRole.AcceptRole)
        self._go.setProperty("primary", True)
        self._go.setAccessibleName(self.tr("Scan"))
        self._buttons.accepted.connect(self._accept)
        self._buttons.rejected.connect(self.reject)
        without_icons(self._buttons)
        self._build_fields()
        self._lay_out()
        self._check()
        start_task(self, self._list_interfaces(), name="own networks")

    def _build_fields(self) -> None:
        settings = self._workspace.settings.discovery
        self._interfaces = QListWidget()
        self._interfaces.setAccessibleName(self.tr("Networks of this computer"))
        self._interfaces.setFixedHeight(ROW_HEIGHT + 2 * SPACE_XS)
        self._networks = self._line(self.tr("Other networks"), "192.168.2.0/24, 10.0.5.0/26")
        self._hosts = self._line(self.tr("Single hosts"), "nas.local, 192.168.1.20, fd00::5")
        self._ports = self._line(self.tr("Ports"), "8080, 11434")
        self._ports.setText(", ".join(map(str, settings.ports)))
        self._ports.setCursorPosition(0)
        self._never = self._line(self.tr("Never scan"), "192.168.1.0/28, 192.168.1.99")
        self._never.setText(", ".join(settings.never_scan))
        self._never.setToolTip(
            tooltip(self.tr("Networks and addresses that no scan touches. Kept in the settings."))
        )
        self._browse = QCheckBox(self.tr("Also ask the networks by mDNS which servers announce themselves"))
        self._browse.setAccessibleName(self._browse.text())
        self._browse.setChecked(True)
        # Now that all of them are there: each check looks at every field.
        for line in (self._networks, self._hosts, self._ports, self._never):
            line.textChanged.connect(self._check)
        self._interfaces.itemChanged.connect(self._check)
        self._browse.toggled.connect(self._check)

    def _line(self, name: str, placeholder: str) -> QLineEdit:
        line = QLineEdit()
        line.setAccessibleName(name)
        line.setPlaceholderText(placeholder)
        line.setMaxLength(MAX_TEXT)
        return line

    def _lay_out(self) -> None:
        fields = (self._interfaces, self._networks, self._hosts, self._ports, self._never)
        form = labelled([(field.accessibleName(), field) for field in fields])
        column = QVBoxLayout(self)
        column.setSpacing(SPACE_M)
        column.addWidget(
            PlainLabel(
                self.tr("Only your own networks can be scanned as a whole; hosts elsewhere are typed."),
                muted=True,
                wrap=True,
            )
        )
        column.addLayout(form)
        column.addWidget(self._browse)
        column.addWidget(self._summary)
        column.addWidget(self._problem)
        column.addStretch(1)
        column.addWidget(self._buttons)

    async def _list_interfaces(self) -> None:
        found = await asyncio.to_thread(self._own_networks)
        for number, interface in enumerate(found):
            self._interfaces.addItem(self._entry(interface, ticked=number == 0))
        if not found:
            entry = QListWidgetItem(self.tr("This computer is in no private network now."))
            entry.setFlags(Qt.ItemFlag.NoItemFlags)
            self._interfaces.addItem(entry)
        rows = min(self._interfaces.count(), LIST_ROWS)
        self._interfaces.setFixedHeight(rows * ROW_HEIGHT + 2 * SPACE_XS)
        self._check()

    def _entry(self, interface: Interface, *, ticked: bool) -> QListWidgetItem:
        words = self.tr("{name}: {network}, this computer is {address}").format(
            name=interface.name, network=interface.network, address=interface.address
        )
        entry = QListWidgetItem(words)
        entry.setData(Qt.ItemDataRole.UserRole, interface.network)
        entry.setFlags(entry.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        entry.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        return entry

    # --- checking ------------------------------------------------------------------------------------------

    def _wishes(self) -> Wishes:
        """Raises UsageError."""
        entries = (self._interfaces.item(row) for row in range(self._interfaces.count()))
        ticked = [
            str(entry.data(Qt.ItemDataRole.UserRole))
            for entry in entries
            if entry.checkState() is Qt.CheckState.Checked
        ]
        return Wishes(
            networks=(*ticked, *words_of(self._networks.text())),
            hosts=words_of(self._hosts.text()),
            ports=ports_of(self._ports.text()),
            never=self._never.text(),
            browse=self._browse.isChecked(),
        )

    def _plan(self) -> tuple[ScanPlan, AppConfig]:
        """What would be done, and the settings with what is never done. Raises LlamaRunnerError."""
        wishes = self._wishes()
        config = set_setting(self._workspace.settings, NEVER, wishes.never)
        if not wishes.networks and not wishes.hosts:
            raise UsageError("Nothing is chosen yet.", "Tick a network, or type one, or a host.")
        plan = plan_scan(
            config.discovery,
            hosts=wishes.hosts,
            networks=wishes.networks,
            ports=wishes.ports,
            browse=wishes.browse,
        )
        return plan, config

    def _check(self) -> None:
        problem = summary = ""
        try:
            plan, _ = self._plan()
            summary = self._in_numbers(plan)
        except LlamaRunnerError as error:
            problem = f"{error.message} {error.hint}".strip()
        self._summary.setText(summary)
        self._summary.setVisible(bool(summary))
        self._problem.setText(problem)
        self._problem.setVisible(bool(problem))
        self._go.setEnabled(not problem)

    def _in_numbers(self, plan: ScanPlan) -> str:
        text = self.tr(
            "Tries {ports} on {hosts}: {connects} connects, at most {sockets} at a time and "
            "{rate} a second, about {time}. Where a port is open, a few known pages are read. "
            "No key is sent, nothing is changed, and the log keeps what was scanned."
        )
        words = text.format(
            ports=self._counted(len(plan.ports), self.tr("1 port"), self.tr("{n} ports")),
            hosts=self._counted(len(plan.hosts), self.tr("1 host"), self.tr("{n} hosts")),
            connects=format.count(plan.connects),
            sockets=format.count(SOCKETS_AT_ONCE),
            rate=format.count(CONNECTS_PER_S),
            time=self.tr("{n} s").format(n=format.count(max(1, round(duration_s(plan))))),
        )
        return words if not plan.browse else f"{words} {self.tr('Announced servers are asked as well.')}"

    @staticmethod
    def _counted(count: int, one: str, many: str) -> str:
        return one if count == 1 else many.format(n=format.count(count))

    @async_slot_once
    async def _accept(self) -> None:
        try:
            plan, config = self._plan()
            if config != self._workspace.settings:
                await asyncio.to_thread(self._save, self._never.text())
                self._workspace.use_config(await asyncio.to_thread(load_app_config, self._workspace.home))
        except LlamaRunnerError as error:
            self._problem.setText(f"{error.message} {error.hint}".strip())
            self._problem.show()
            return
        self.planned.emit(plan)
        self.accept()

    def _save(self, never: str) -> None:
        change_app_config(self._workspace.home, {NEVER: parse_setting(NEVER, never)})
