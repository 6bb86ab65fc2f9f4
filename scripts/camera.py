"""What scripts that drive the window need: pictures, waiting as a person waits, buttons by their words."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PySide6.QtWidgets import QPushButton, QWidget

    from llama_runner.ui.main_window import MainWindow

PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Look:
    """Theme, size in logical pixels, scale."""

    name: str
    theme: str
    width: int
    height: int
    scale: float


def parse_look(text: str) -> Look:
    """`dark-1280x720@2`."""
    theme, _, rest = text.partition("-")
    size, _, scale = rest.partition("@")
    width, _, height = size.partition("x")
    return Look(text, theme, int(width), int(height), float(scale or 1))


class Camera:
    """Takes pictures of the window and of its dialogs."""

    def __init__(self, window: "MainWindow", out: Path, look: Look) -> None:
        self.window = window
        self._out, self._look = out, look
        self._taken = 0

    async def take(self, name: str, widget: "QWidget | None" = None) -> None:
        """One picture, after what is pending was painted."""
        await settle()
        self._taken += 1
        file = self._out / f"{self._look.name}-{self._taken:02d}-{name}.png"
        (widget or self.window).grab().save(str(file), "PNG")
        sys.stdout.write(f"{file}\n")


async def settle(seconds: float = 0.4) -> None:
    """Let timers, layouts and paints of a moment happen: a picture has no event of its own to wait for."""
    await asyncio.sleep(seconds)


async def until(condition: Callable[[], object], *, what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait for what a person would wait for, looking as often as a person does."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - the window tells nobody what it shows
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise SystemExit(f"waited {timeout_s:g} s in vain: {what}") from error


def button(root: "QWidget", text: str) -> "QPushButton":
    """The visible button with this word on it."""
    from PySide6.QtWidgets import QPushButton

    found = [b for b in root.findChildren(QPushButton) if b.text() == text and b.isVisible()]
    if not found:
        raise SystemExit(f"there is no button {text!r}")
    return found[0]
