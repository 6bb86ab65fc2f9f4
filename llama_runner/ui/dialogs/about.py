"""About: what this is, which versions run, and under which licences the parts stand."""

import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from PySide6.QtCore import Qt, qVersion
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QVBoxLayout, QWidget

from llama_runner import __version__
from llama_runner.core import format
from llama_runner.core.text import visible_controls
from llama_runner.ui.theme import SPACE_M
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.questions import without_icons
from llama_runner.ui.widgets.tables import Column, DataTable

DISTRIBUTION: Final = "llama-runner"
# What we use directly; read from our own metadata when we are installed.
PARTS: Final = (
    "PySide6-Essentials",
    "QtAwesome",
    "aiohttp",
    "httpx",
    "httpx-aiohttp",
    "keyring",
    "markdown-it-py",
    "msgspec",
    "nh3",
    "numpy",
    "nvidia-ml-py",
    "psutil",
    "pydantic",
    "pyqtgraph",
    "qasync",
    "shiboken6",
    "starlette",
    "uvicorn",
    "uvloop",
    "wsproto",
    "zeroconf",
)


# A few packages put the whole text where its name belongs.
_PHRASES: Final = (
    ("Redistribution and use in source and binary forms", "BSD"),
    ("Permission is hereby granted, free of charge", "MIT"),
    ("Apache License", "Apache-2.0"),
)


@dataclass(frozen=True, slots=True)
class Part:
    """One library."""

    name: str
    version: str
    licence: str


def parts() -> tuple[Part, ...]:
    """The libraries that are installed."""
    found: list[Part] = []
    for name in PARTS:
        try:
            data = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(Part(name, data["Version"], _licence(data)))
    return tuple(found)


def _licence(data: "metadata.PackageMetadata") -> str:
    expressions = data.get_all("License-Expression")
    if expressions:
        return str(expressions[0])
    classifiers = data.get_all("Classifier") or []
    names = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License :: OSI Approved :: ")]
    if names:
        return ", ".join(names)
    text = "\n".join(data.get_all("License") or [])
    for phrase, name in _PHRASES:
        if phrase in text:
            return name
    return visible_controls(text.strip().split("\n")[0], 60) or format.UNKNOWN


class AboutDialog(QDialog):
    """Name, versions, parts."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("About Llama Runner"))
        self.resize(680, 560)
        name = PlainLabel(f"Llama Runner {__version__}", bold=True, scale=1.4, selectable=True)
        what = PlainLabel(
            self.tr("The desktop control room for local language models. MIT licence."), wrap=True
        )
        running = PlainLabel(
            f"Python {platform.python_version()} · Qt {qVersion()} · {platform.platform(terse=True)}",
            muted=True,
            selectable=True,
        )
        running.setAccessibleName(self.tr("Versions in use"))
        name.setAccessibleName(self.tr("Program and version"))
        table: DataTable[Part] = DataTable(
            (
                Column(self.tr("Part"), lambda p: p.name, stretch=True),
                Column(self.tr("Version"), lambda p: p.version, number=True),
                Column(self.tr("Licence"), lambda p: p.licence),
            ),
            lambda p: p.name,
            name=self.tr("Parts and their licences"),
        )
        table.set_rows(parts())
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        without_icons(buttons)
        column = QVBoxLayout(self)
        column.setSpacing(SPACE_M)
        for widget in (name, what, running):
            column.addWidget(widget)
        column.addWidget(table, 1)
        column.addWidget(buttons)
